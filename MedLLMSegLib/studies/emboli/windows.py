"""What the networks see of a scan: a square of some consecutive slices around a place."""

from __future__ import annotations

import numpy as np

from MedLLMSegLib.core.types import Array

from .contrast import Contrast

SLICES, SIDE = 9, 20  # voxels: 13.5 mm upwards, 30 mm in the slice
CHANNELS = 2
MARGINS = (SLICES // 2, SIDE // 2, SIDE // 2)
# Soft tissue, in which occluded vessels show (Brink et al., Radiology 1997), as level and width.
SOFT_HU = (40.0, 400.0)


def windowed(hu: Array, contrast: Contrast) -> Array:
    """(2, K, J, I) float16 from 0 to 1: in the vessel window, and in that of soft tissue.

    The vessel window goes from 0 HU to the artery's mean and two standard deviations ("modified"
    window of Bae et al., Radiology 2005), so that it follows the contrast of each scan. K, J and I
    have `MARGINS` added on both sides, which repeat the edge.
    """
    top = contrast.artery_hu + 2 * contrast.artery_sd
    level, width = SOFT_HU
    scaled = np.stack([hu / top, (hu - level) / width + 0.5]).clip(0, 1).astype(np.float16)
    return np.pad(scaled, [(0, 0), *((margin, margin) for margin in MARGINS)], mode="edge")


def cut(images: Array, places: Array) -> Array:
    """(n, SLICES, 2, SIDE, SIDE) float32 around places (n, 3) of what `windowed` gave."""
    squares = [
        images[:, k : k + SLICES, j : j + SIDE, i : i + SIDE].swapaxes(0, 1) for k, j, i in places
    ]
    return np.array(squares, np.float32).reshape(-1, SLICES, CHANNELS, SIDE, SIDE)


def turned(square: Array, rng: np.random.Generator) -> Array:
    """One of its mirror images, or itself: upside down, left to right, front to back, transposed.

    square: (SLICES, 2, SIDE, SIDE). Vessels run in all ways, and the other lung mirrors this one.
    """
    for axis in (0, 2, 3):
        if rng.random() < 0.5:
            square = np.flip(square, axis)
    if rng.random() < 0.5:
        square = square.swapaxes(2, 3)
    return np.ascontiguousarray(square)
