"""Maps that a map of evidence has to beat: chance, and those that know the outline alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.types import Array


def random_map(shape: Sequence[int], places: Sequence[int], seed: int) -> NDArray[np.float32]:
    """[k, j, i] of chance, as coarse as a layer of `places` (k, j, i) and made fine as its map is:
    scattered voxels would be another question.
    """
    values = np.random.default_rng(seed).normal(size=(1, 1, *places)).astype(np.float32)
    fine = F.interpolate(
        torch.from_numpy(values), size=tuple(shape), mode="trilinear", align_corners=False
    )
    result: NDArray[np.float32] = fine[0, 0].numpy()
    return result


def inside_first(region: Array, grid: Grid) -> NDArray[np.float32]:
    """Blind to the image: the depth inside the structure, then the nearness to it, in mm."""
    inside = ndimage.distance_transform_edt(region, sampling=grid.spacing_mm)
    outside = ndimage.distance_transform_edt(~region, sampling=grid.spacing_mm)
    result: NDArray[np.float32] = (inside - outside).astype(np.float32)
    return result


def border_first(region: Array, grid: Grid) -> NDArray[np.float32]:
    """Blind to the image: the nearness to the structure's border, from either side, in mm."""
    nearness: NDArray[np.float32] = -np.abs(inside_first(region, grid))
    return nearness
