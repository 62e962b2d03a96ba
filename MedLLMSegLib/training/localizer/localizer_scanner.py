"""What a synthetic scanner does to an image: its field of view, bias field, slices and noise."""

from __future__ import annotations

import numpy as np

from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.training.synthesis.pose import turned
from MedLLMSegLib.training.synthesis.scanner import slice_matrix

from .localizer_contrast import blurred
from .localizer_pose import centroid
from .subjects import smooth_field


def field_of_view(shape: Triple, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool [k, j, i]: what the scanner covers, a box that may be tilted against the grid.

    classes: [5, k, j, i], of which the first two are the left and right hippocampus.
    """
    grid_centre = (np.array(shape) - 1) / 2
    centres = [centroid(classes[0]), centroid(classes[1])]
    sides = [c for c in centres if np.isfinite(c).all()]
    low, high = _draw_box(sides or [grid_centre], grid_centre, rng)
    tilt = rng.normal(0, 8, 3) if rng.random() < 0.3 else (0, 0, 0)
    axes = turned(tilt).numpy()
    k, j, i = (np.arange(n, dtype=np.float32) - c for n, c in zip(shape, grid_centre, strict=True))
    mask = np.ones(shape, bool)
    for axis, a, b in zip(axes, low, high, strict=True):
        if np.isfinite([a, b]).any():
            along = (axis[0] * k)[:, None, None] + (axis[1] * j)[None, :, None] + axis[2] * i
            mask &= (along >= a) & (along <= b)
    return mask if mask.sum() > 64 else np.ones(shape, bool)


def _draw_box(
    sides: list[np.ndarray], grid_centre: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner (k, j, i) of the field of view, in voxels from the grid's middle.

    sides: centres (k, j, i) of the hippocampi, in voxels.
    """
    low, high, kind = np.full(3, -np.inf), np.full(3, np.inf), rng.random()
    one = sides[int(rng.integers(len(sides)))] - grid_centre
    middle = np.mean(sides, 0) - grid_centre
    axis = int(rng.integers(3))
    if kind < 0.6:  # everything
        return low, high
    if kind < 0.78:  # cut a little on some sides
        distance = rng.uniform(12, 45, (2, 3)) + np.where(rng.random((2, 3)) < 0.5, 0, np.inf)
        return middle - distance[0], middle + distance[1]
    if kind < 0.85:  # a slab
        centre = middle[axis] + rng.uniform(-8, 8)
        half = rng.uniform(5, 18)
        low[axis], high[axis] = centre - half, centre + half
        return low, high
    if kind < 0.92:  # a box around one side
        return one - rng.uniform(7, 27, 3), one + rng.uniform(7, 27, 3)
    if kind < 0.975:
        # Everything on one side of a plane beyond both hippocampi, or between them.
        offsets = [abs(s[axis] - grid_centre[axis] - middle[axis]) for s in sides]
        beyond = rng.uniform(2, 14) + max(offsets)
        halves = ((middle[axis] + beyond, np.inf), (-np.inf, middle[axis] - beyond))
        low[axis], high[axis] = halves[rng.integers(2)]
        if axis == 2 and rng.random() < 0.5:
            low[2], high[2] = ((middle[2], np.inf), (-np.inf, middle[2]))[rng.integers(2)]
        return low, high
    corner = rng.uniform(-25, 15, 3)  # a box anywhere
    return corner, corner + rng.uniform(12, 50, 3)


def scanned(clean: np.ndarray, air: float, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A new image with bias field, thick slices and noise.

    clean: [k, j, i] at 3 mm. air: its brightness. kind: of the `Subject`.
    """
    field = smooth_field(clean.shape, int(rng.integers(2, 6)), rng)[0]
    image = clean * np.exp(field * np.float32(rng.uniform(0, 0.4)))
    # permutation() before choice(): the order of the draws is part of what a seed means.
    axes = rng.permutation(3)[: int(rng.choice([0, 1, 2, 3], p=[0.6, 0.3, 0.05, 0.05]))]
    for axis in axes:
        matrix = slice_matrix(image.shape[axis], rng.uniform(1.1, 2.3), rng.uniform(0, 1))
        image = np.moveaxis(np.tensordot(matrix.numpy(), image, (1, axis)), 0, axis)
    strength = np.float32(rng.uniform(0, 0.05) if rng.random() < 0.85 else rng.uniform(0.05, 0.2))
    noise = rng.standard_normal(image.shape, np.float32) * strength
    if rng.random() < 0.2:
        noise = blurred(noise) * np.float32(2)
    if rng.random() < 0.5:  # magnitude images: noise is Rician
        image = np.hypot(image + noise, rng.standard_normal(image.shape, np.float32) * strength)
    else:
        image = image + noise
    if kind == "stripped" and rng.random() < 0.8:
        image[np.abs(clean - air) < 0.02] = air
    return np.ascontiguousarray(image, np.float32)
