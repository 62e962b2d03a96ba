"""The grid that a result lies on: the scan's own, or one of cubes along the scan's axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import ROUND_OFF_VOX, Grid
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

LIMITS_MM = (0.1, 20.0)
MOST_VOXELS = 1e9  # of a label map, a byte each


def result_grid(volume: Volume, resolution_mm: float | None) -> Grid:
    """Where the labels of a scan shall lie.

    resolution_mm: None for the scan's own grid. Otherwise the edge of the cubes of a grid along
    the scan's own axes, in their order and direction, around the scan's middle: the smallest that
    covers the scan. A scan that has such cubes keeps its grid.

    Raises `UserError` for a resolution beyond `LIMITS_MM` and for more than `MOST_VOXELS`.
    """
    if resolution_mm is None:
        return volume.grid
    low, high = LIMITS_MM
    if not low <= resolution_mm <= high:
        raise UserError(
            f"The resolution is {resolution_mm:g} mm, and {low:g} to {high:g} mm are possible."
        )
    scan = volume.grid
    if np.allclose(scan.spacing_mm, resolution_mm, rtol=1e-5, atol=0):
        return scan
    counts = np.ceil(np.array(scan.extent_mm) / resolution_mm - ROUND_OFF_VOX)  # along (k, j, i)
    k, j, i = (max(1, int(count)) for count in counts)
    if float(k) * j * i > MOST_VOXELS:
        raise UserError(
            f'At {resolution_mm:g} mm "{volume.name}" would have {i} x {j} x {k} voxels, which is'
            " too much; choose a coarser resolution."
        )
    matrix = np.eye(4)
    matrix[:3, :3] = scan.directions * resolution_mm
    matrix[:3, 3] = scan.centre_ras() - matrix[:3, :3] @ (np.array([i, j, k]) - 1) / 2
    return Grid((k, j, i), matrix)


def on_grid(volume: Volume, grid: Grid, array: Array, name: str | None = None) -> Volume:
    """An array on a result's grid, as a volume that states its position as the scan does."""
    placed = volume.with_array(array, name)
    if np.array_equal(grid.ijk_to_ras, volume.ijk_to_ras):
        return placed
    forms = placed.forms and replace(placed.forms, other_ijk_to_ras=None)
    return replace(placed, ijk_to_ras=grid.ijk_to_ras, forms=forms)


def scan_on(volume: Volume, grid: Grid) -> Volume:
    """The scan sampled on a result's grid, for what looks at both, such as a report's pictures."""
    if np.array_equal(grid.ijk_to_ras, volume.ijk_to_ras):
        return volume
    return on_grid(volume, grid, resample(volume.array, volume.grid, grid))
