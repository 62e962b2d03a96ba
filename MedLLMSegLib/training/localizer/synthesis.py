"""Images of subjects that never were in a scanner, to train the localizer on (after SynthSeg,
Billot et al. 2023).

Each draw has its own contrast, pose, field of view, resolution and faults; all chance comes from
the `numpy.random.Generator` that is passed in, so a seed names an image for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from MedLLMSegLib.networks.segmentation.localizer_network import CLASSES, MIRRORED
from MedLLMSegLib.segmentation.localizer import to_unit_range

from . import subjects
from .subjects import FIRST_OUTSIDE, SPACING_MM, TISSUES, Subject, smooth_field

GRID_MM = 3.0  # spacing of the network's grid, which the samples are on


@dataclass(frozen=True, eq=False)
class Sample:
    """image: float32 [k, j, i] in 0..1, 3 mm, i to the right, j to the front, k up.

    target: float32 [6, k, j, i], how much of the voxel is of each class; sums to 1.
    visible: how much of (left, right) hippocampus lies within the field of view, 0..1.
    """

    image: np.ndarray
    target: np.ndarray
    visible: tuple[float, float]
    kind: str

    def centre_vox(self, side: int) -> np.ndarray:
        """Centroid (k, j, i) of what is to be seen of the left (0) or right (1) hippocampus, in
        voxels.
        """
        return _centroid(self.target[1 + side])


def draw_sample(heads: Sequence[Subject], rng: np.random.Generator, shape=(80, 80, 80)) -> Sample:
    """One training example: in 15 of 100 there is no brain at all."""
    if rng.random() < 0.02:
        return _pure_noise(shape, rng)
    return synthesise(_draw_subject(heads, rng), rng, shape)


def _draw_subject(heads: Sequence[Subject], rng: np.random.Generator) -> Subject:
    head, way = heads[int(rng.integers(len(heads)))], rng.random()
    if way < 0.05:
        return subjects.body(rng)
    if way < 0.08:
        return subjects.blobs(rng)
    if way < 0.13:
        return subjects.without_brain(head, rng)
    if way < 0.48:
        return subjects.without_skull(head, rng)
    return subjects.without_face(head, rng) if way < 0.56 else head


def synthesise(subject: Subject, rng: np.random.Generator, shape=(80, 80, 80)) -> Sample:
    """Put a subject into the scanner. shape: (k, j, i) of the result at 3 mm."""
    clean, classes, background = _posed(subject, rng, shape)
    mask = _field_of_view(shape, classes, rng)
    image = _imaged(clean, background, subject.kind, rng)
    image[~mask] = image[mask].min()
    image = to_unit_range(image)
    if rng.random() < 0.5:
        image **= np.float32(np.exp(rng.normal(0, 0.3)))
    before = classes[:2].sum((1, 2, 3))
    classes = classes * mask
    visible = tuple(float(v) for v in classes[:2].sum((1, 2, 3)) / np.maximum(before, 1e-6))
    target = np.concatenate([1 - classes.sum(0, keepdims=True), classes])
    return Sample(image, target.clip(0, 1), visible, subject.kind)


def draw_contrast(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each tissue, (T,) each: T1-like in 85 draws of 100, else
    anything.
    """
    low, high = np.array([t[1] for t in TISSUES]).T
    if rng.random() < 0.85:
        white = rng.uniform(0.6, 1.0)
        grey = white * rng.uniform(0.5, 0.88)
        fluid = grey * rng.uniform(0.1, 0.7)
        greys = [0.0, fluid, grey, white, white * rng.uniform(0.7, 2.5)]
        along = np.interp(rng.uniform(low, high), [-1.5, -1, 0, 1, 2], greys)
        return along.astype(np.float32), (rng.uniform(0, 0.06, len(TISSUES)) * white).astype(
            np.float32
        )
    means = rng.uniform(0, 1, len(TISSUES))
    if rng.random() < 0.85:
        means[0] = 0.0
    return means.astype(np.float32), rng.uniform(0, 0.12, len(TISSUES)).astype(np.float32)


def _painted(subject: Subject, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The subject as an image float32 [k, j, i] at 2 mm, and how bright the air around it is."""
    means, deviations = draw_contrast(rng)
    tissues = subject.tissues
    deviations[0] = 0.0
    image = rng.standard_normal(tissues.shape, np.float32)
    image *= deviations[tissues]
    image += means[tissues]
    if (
        rng.random() < 0.7
    ):  # fat and muscle share one label outside the brain: give it a patchy look
        patches = smooth_field(tissues.shape, int(rng.integers(12, 40)), rng)[0]
        image += patches * np.where(
            tissues >= FIRST_OUTSIDE, np.float32(rng.uniform(0, 0.35)), np.float32(0)
        )
    if rng.random() < 0.1:  # a tumour, a cavity, a metal artefact
        centre = np.array(subject.centre_vox) + rng.uniform(-35, 35, 3)
        image[subjects._ellipsoid(tissues.shape, centre, rng.uniform(3, 14, 3))] = rng.uniform(
            0, 1.2
        )
    for _ in range(
        int(rng.choice([0, 1, 2, 4], p=[0.25, 0.45, 0.2, 0.1]))
    ):  # 4: like an average of many heads
        image = _blurred(image)
    return image, float(means[0])


def _blurred(image: np.ndarray) -> np.ndarray:
    """Binomial smoothing (1, 2, 1) along each axis: 3.3 mm wide at half height."""
    for axis in range(3):
        moved = np.moveaxis(image, axis, 0)
        out = moved.copy()
        out[1:-1] = 0.5 * moved[1:-1] + 0.25 * (moved[:-2] + moved[2:])
        image = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(image)


def draw_pose(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) from millimetres of the grid to millimetres of the subject, and the shift (3,) mm;
    axes (k, j, i).
    """
    degrees = rng.normal(0, 10, 3) if rng.random() < 0.8 else rng.uniform(-35, 35, 3)
    scale = rng.uniform(0.87, 1.13) * rng.uniform(0.92, 1.08, 3)
    shear = np.eye(3) + rng.normal(0, 0.03, (3, 3)) * (1 - np.eye(3))
    matrix = _rotation(degrees) @ shear @ np.diag(1 / scale)
    if rng.random() < 0.5:
        matrix[2] *= -1  # the mirror image of the subject: the caller swaps its sides
    return matrix, rng.uniform(-30, 30, 3)


def _rotation(degrees) -> np.ndarray:
    """(3, 3) rotation about the three axes in turn."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def _posed(
    subject: Subject, rng: np.random.Generator, shape
) -> tuple[np.ndarray, np.ndarray, float]:
    """The painted subject [k, j, i] and its classes [5, k, j, i] on the 3 mm grid, and the air's
    brightness.
    """
    image, background = _painted(subject, rng)
    stack = torch.from_numpy(image - background)[
        None
    ]  # (1, k, j, i): beyond the subject is nothing, which is 0
    if subject.classes is not None:
        stack = torch.cat([stack, torch.from_numpy(subject.classes).float() / 255])  # (6, k, j, i)
    matrix, shift = draw_pose(rng)
    grid = torch.from_numpy(_sampling_points(subject, matrix, shift, rng, shape))[
        None
    ]  # (1, K, J, I, 3)
    out = F.grid_sample(stack[None], grid, align_corners=True)[0].numpy()  # (1 or 6, K, J, I)
    if subject.classes is None:
        return out[0] + background, np.zeros((len(CLASSES) - 1, *shape), np.float32), background
    order = [MIRRORED[c] if np.linalg.det(matrix) < 0 else c for c in range(1, len(CLASSES))]
    return out[0] + background, out[order], background


def _sampling_points(
    subject: Subject, matrix, shift, rng: np.random.Generator, shape
) -> np.ndarray:
    """float32 (K, J, I, 3): where in the subject each voxel lies, as (i, j, k) from -1 to 1 for
    `grid_sample`.
    """
    bend = smooth_field((9, 9, 9), 5, rng, 3) * rng.uniform(0, 6) + rng.standard_normal(
        (3, 9, 9, 9)
    ) * rng.uniform(0, 1.5)
    bend_mm = F.interpolate(
        torch.from_numpy(bend.astype(np.float32))[None],
        size=tuple(shape),
        mode="trilinear",
        align_corners=True,
    )[0].numpy()  # (3, K, J, I)
    steps_mm = [GRID_MM * (np.arange(n) - (n - 1) / 2) - s for n, s in zip(shape, shift)]
    points = np.empty((*shape, 3), np.float32)
    for axis, count in enumerate(subject.tissues.shape):
        scale = 2 / (count - 1)  # from voxels to the range -1 to 1
        k, j, i = [
            (scale / SPACING_MM * matrix[axis, a] * steps_mm[a]).astype(np.float32)
            for a in range(3)
        ]
        place = (
            k[:, None, None] + j[:, None] + (i + np.float32(scale * subject.centre_vox[axis] - 1))
        )
        points[..., 2 - axis] = place + bend_mm[axis] * np.float32(scale / SPACING_MM)
    return points


def _centroid(weights: np.ndarray) -> np.ndarray:
    """(3,) centre of mass of an array [k, j, i], in voxels; NaN for an empty one."""
    sums = [weights.sum(tuple(b for b in range(3) if b != a), dtype=np.float64) for a in range(3)]
    total = sums[0].sum()
    return np.array([s @ np.arange(len(s)) / total if total else np.nan for s in sums])


def _field_of_view(shape, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool [k, j, i]: what the scanner covers, a box that may be tilted against the grid."""
    grid_centre = (np.array(shape) - 1) / 2
    sides = [c for c in (_centroid(classes[0]), _centroid(classes[1])) if np.isfinite(c).all()]
    low, high = _draw_box(sides or [grid_centre], grid_centre, rng)
    axes = _rotation(rng.normal(0, 8, 3) if rng.random() < 0.3 else (0, 0, 0)).astype(np.float32)
    steps = [np.arange(n, dtype=np.float32) - c for n, c in zip(shape, grid_centre)]
    mask = np.ones(shape, bool)
    for row, a, b in zip(axes, low, high):
        if np.isfinite([a, b]).any():
            u = (
                (row[0] * steps[0])[:, None, None]
                + (row[1] * steps[1])[None, :, None]
                + row[2] * steps[2]
            )
            mask &= (u >= a) & (u <= b)
    return mask if mask.sum() > 64 else np.ones(shape, bool)


def _draw_box(sides: list[np.ndarray], grid_centre: np.ndarray, rng: np.random.Generator):
    """Lower and upper corner (k, j, i) of the field of view, in voxels from the middle of the
    grid.
    """
    low, high, way = np.full(3, -np.inf), np.full(3, np.inf), rng.random()
    one = sides[int(rng.integers(len(sides)))] - grid_centre
    middle = np.mean(sides, 0) - grid_centre
    axis = int(rng.integers(3))
    if 0.6 <= way < 0.78:  # a little off here and there
        near = rng.uniform(12, 45, (2, 3)) + np.where(rng.random((2, 3)) < 0.5, 0, np.inf)
        low, high = middle - near[0], middle + near[1]
    elif way < 0.6:
        pass
    elif way < 0.85:  # a slab
        low[axis], high[axis] = (
            middle[axis] + rng.uniform(-8, 8) + np.array([-1, 1]) * rng.uniform(5, 18)
        )
    elif way < 0.92:  # a box around one side
        low, high = one - rng.uniform(7, 27, 3), one + rng.uniform(7, 27, 3)
    elif (
        way < 0.975
    ):  # everything on one side of a plane that lies beyond both hippocampi, or between them
        beyond = rng.uniform(2, 14) + max(
            abs(s[axis] - grid_centre[axis] - middle[axis]) for s in sides
        )
        low[axis], high[axis] = ((middle[axis] + beyond, np.inf), (-np.inf, middle[axis] - beyond))[
            rng.integers(2)
        ]
        if axis == 2 and rng.random() < 0.5:
            low[2], high[2] = ((middle[2], np.inf), (-np.inf, middle[2]))[rng.integers(2)]
    else:  # a box anywhere
        corner = rng.uniform(-25, 15, 3)
        low, high = corner, corner + rng.uniform(12, 50, 3)
    return low, high


def _imaged(
    clean: np.ndarray, background: float, kind: str, rng: np.random.Generator
) -> np.ndarray:
    """Bias field, thick slices and noise. clean: [k, j, i] at 3 mm. Returns a new array of the
    same shape.
    """
    bias = smooth_field(clean.shape, int(rng.integers(2, 6)), rng)[0] * np.float32(
        rng.uniform(0, 0.4)
    )
    image = clean * np.exp(bias)
    axes = rng.permutation(3)[: int(rng.choice([0, 1, 2, 3], p=[0.6, 0.3, 0.05, 0.05]))]
    for axis in axes:
        matrix = _slices(image.shape[axis], rng.uniform(1.1, 2.3), rng.uniform(0, 1))
        image = np.moveaxis(np.tensordot(matrix, image, (1, axis)), 0, axis)
    strength = np.float32(rng.uniform(0, 0.05) if rng.random() < 0.85 else rng.uniform(0.05, 0.2))
    noise = rng.standard_normal(image.shape, np.float32) * strength
    if rng.random() < 0.2:
        noise = _blurred(noise) * np.float32(2)
    if rng.random() < 0.5:  # magnitude images: noise is Rician
        image = np.hypot(image + noise, rng.standard_normal(image.shape, np.float32) * strength)
    else:
        image = image + noise
    if kind == "stripped" and rng.random() < 0.8:
        image[np.abs(clean - background) < 0.02] = background
    return np.ascontiguousarray(image, np.float32)


def _slices(count: int, thickness: float, phase: float) -> np.ndarray:
    """(count, count): average over slices this thick (in voxels), then interpolate linearly
    between them.
    """
    centres = np.arange(phase * thickness, count - 0.5, thickness)
    voxels = np.arange(count)
    low = np.maximum(voxels - 0.5, centres[:, None] - thickness / 2)
    high = np.minimum(voxels + 0.5, centres[:, None] + thickness / 2)
    average = np.maximum(high - low, 0)
    average /= average.sum(1, keepdims=True)
    back = np.stack([np.interp(voxels, centres, row) for row in np.eye(len(centres))], 1)
    return (back @ average).astype(np.float32)


def _pure_noise(shape, rng: np.random.Generator) -> Sample:
    """Noise, white or smooth, and nothing else."""
    image = rng.standard_normal(shape, np.float32)
    if rng.random() < 0.5:
        image = (
            image * np.float32(rng.uniform(0, 1))
            + smooth_field(shape, int(rng.integers(3, 30)), rng)[0]
        )
    if rng.random() < 0.3:
        image = np.abs(image)
    image = to_unit_range(image)
    target = np.zeros((len(CLASSES), *shape), np.float32)
    target[0] = 1
    return Sample(image, target, (0.0, 0.0), "noise")
