"""How a subject lies in the synthetic scanner: turned, scaled, sheared, mirrored and bent onto the
network's grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.networks.segmentation.localizer_network import CLASSES, MIRRORED
from MedLLMSegLib.training.synthesis.pose import turned

from .localizer_contrast import painted
from .subjects import SPACING_MM, Subject, smooth_field

GRID_MM = 3.0  # spacing of the network's grid, which the samples are on


def draw_pose(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) from millimetres of the grid to millimetres of the subject, and the shift (3,) mm;
    axes (k, j, i).
    """
    degrees = rng.normal(0, 10, 3) if rng.random() < 0.8 else rng.uniform(-35, 35, 3)
    scale = rng.uniform(0.87, 1.13) * rng.uniform(0.92, 1.08, 3)
    shear = np.eye(3) + rng.normal(0, 0.03, (3, 3)) * (1 - np.eye(3))
    matrix = turned(degrees).numpy() @ shear @ np.diag(1 / scale)
    if rng.random() < 0.5:
        matrix[2] *= -1  # the mirror image of the subject: the caller swaps its sides
    return matrix, rng.uniform(-30, 30, 3)


@dataclass(frozen=True, eq=False)
class PosedSubject:
    """A subject on the network's grid, 3 mm.

    image: float32 [k, j, i]. classes: float32 [5, k, j, i], shares of the voxel, 0 without a brain.
    air: how bright the air around it is.
    """

    image: np.ndarray
    classes: np.ndarray
    air: float


def posed(subject: Subject, rng: np.random.Generator, shape: Triple) -> PosedSubject:
    """The subject, painted with a random contrast, in a random pose on a grid of 3 mm."""
    image, air = painted(subject, rng)
    # What lies beyond the subject is sampled as 0, so air has to be 0 meanwhile.
    stack = torch.from_numpy(image - air)[None]  # (1, k, j, i)
    if subject.classes is not None:
        stack = torch.cat([stack, torch.from_numpy(subject.classes).float() / 255])  # (6, k, j, i)
    matrix, shift = draw_pose(rng)
    points = torch.from_numpy(sampling_points(subject, matrix, shift, rng, shape))[None]
    out = F.grid_sample(stack[None], points, align_corners=True)[0].numpy()  # (1 or 6, K, J, I)
    if subject.classes is None:
        return PosedSubject(out[0] + air, np.zeros((len(CLASSES) - 1, *shape), np.float32), air)
    mirrored = np.linalg.det(matrix) < 0
    order = [MIRRORED[c] if mirrored else c for c in range(1, len(CLASSES))]
    return PosedSubject(out[0] + air, out[order], air)


def sampling_points(
    subject: Subject,
    matrix: np.ndarray,
    shift: np.ndarray,
    rng: np.random.Generator,
    shape: Triple,
) -> np.ndarray:
    """float32 (K, J, I, 3): where in the subject each voxel lies, as (i, j, k) from -1 to 1 for
    `grid_sample`.
    """
    bend_mm = _bend_mm(rng, shape)
    steps_mm = [
        GRID_MM * (np.arange(n) - (n - 1) / 2) - s for n, s in zip(shape, shift, strict=True)
    ]
    points = np.empty((*shape, 3), np.float32)
    for axis, count in enumerate(subject.tissues.shape):
        scale = 2 / (count - 1)  # from voxels to the range -1 to 1
        k, j, i = (
            (scale / SPACING_MM * matrix[axis, a] * steps_mm[a]).astype(np.float32)
            for a in range(3)
        )
        origin = np.float32(scale * subject.centre_vox[axis] - 1)
        place = k[:, None, None] + j[:, None] + (i + origin)
        points[..., 2 - axis] = place + bend_mm[axis] * np.float32(scale / SPACING_MM)
    return points


def _bend_mm(rng: np.random.Generator, shape: Triple) -> np.ndarray:
    """float32 (3, K, J, I): smooth random shifts along (k, j, i)."""
    coarse = smooth_field((9, 9, 9), 5, rng, 3) * rng.uniform(0, 6)
    fine = rng.standard_normal((3, 9, 9, 9)) * rng.uniform(0, 1.5)
    bend = torch.from_numpy((coarse + fine).astype(np.float32))[None]
    return F.interpolate(bend, size=tuple(shape), mode="trilinear", align_corners=True)[0].numpy()


def centroid(weights: np.ndarray) -> np.ndarray:
    """(3,) centre of mass of an array [k, j, i], in voxels; NaN for an empty one."""
    sums = [weights.sum(tuple(b for b in range(3) if b != a), dtype=np.float64) for a in range(3)]
    total = sums[0].sum()
    return np.array([s @ np.arange(len(s)) / total if total else np.nan for s in sums])
