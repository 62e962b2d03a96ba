"""Images from one grid to another: plane by plane where the axes are parallel, else in blocks."""

from __future__ import annotations

import numpy as np

from .geometry import Grid
from .oblique_resampling import resample_oblique
from .plane_resampling import apply_taps
from .resampling_taps import (
    AxisTaps,
    SeparableTaps,
    parallel_axes,
    sample_count,
    separable_taps,
    sub_positions,
)
from .types import Array

__all__ = [
    "AxisTaps",
    "SeparableTaps",
    "apply_taps",
    "resample",
    "sample_count",
    "separable_taps",
    "sub_positions",
]


def resample(
    array: Array,
    from_grid: Grid,
    to_grid: Grid,
    order: int = 1,
    outside: float | None = None,
    average: bool = True,
    out: Array | None = None,
) -> Array:
    """Sample an image [k, j, i] at the voxels of another grid.

    order: 1 for trilinear (returns float32), 0 for nearest (keeps the data type). outside: value of
    the voxels whose centres lie beyond the centres of the scan's outermost voxels; None repeats
    those. average: along an axis of the target whose step spans m >= 2 whole voxels of the scan,
    take the mean of m samples, evenly spaced within the target voxel, as a thick slice is the mean
    of what lies in it. It has no effect on nearest. out: an array for the result, of the target's
    shape and the result's type; None makes one.
    """
    array = np.asarray(array)
    resampled: Array = (
        np.empty(to_grid.shape, np.float32 if order else array.dtype) if out is None else out
    )
    if not array.size or not resampled.size:
        resampled.fill(outside or 0)
        return resampled
    parallel = parallel_axes(from_grid, to_grid)
    if parallel is None:
        resample_oblique(array, from_grid, to_grid, resampled, order, outside, average)
        return resampled
    taps = parallel.linear_taps(average) if order else parallel.nearest_taps()
    if outside is None:
        apply_taps(array, taps, resampled)
        return resampled
    resampled.fill(outside)
    within = [np.flatnonzero(along) for along in parallel.within(0.0)]
    if all(len(found) for found in within):
        k, j, i = (slice(int(found[0]), int(found[-1]) + 1) for found in within)
        apply_taps(array, taps.of_box((k, j, i)), resampled[k, j, i])
    return resampled
