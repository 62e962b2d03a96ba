"""Images from one grid to another.

Most pairs of grids have parallel axes, whatever their order and direction. Interpolation then goes
one axis after the other, with a few weighted source voxels ("taps") for each target voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from .geometry import ROUND_OFF_VOX, Grid, voxel_map
from .types import Array, Triple

# Positions this near a whole voxel are on it, so that equal grids need one tap each.
_ON_VOXEL = 1e-5


@dataclass(frozen=True, eq=False)
class AxisTaps:
    """What each of n target voxels along one axis reads: t source voxels, and their weights.

    index: int64 (n, t), within the source: its outermost voxels are repeated beyond its edges.
    weight: float32 (n, t), each row's sum is 1.
    """

    index: NDArray[np.int64]
    weight: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SeparableTaps:
    """How an image is read along each axis of a target grid that is parallel to its own.

    All three are in the order (k, j, i) of the target's axes. source_axes: which axis of the source
    array the target's axis reads. taps: what is read there. inside: bool (n,), whether the target
    voxel's centre lies between the source's faces; `inside_mask` is the outer product of the three.
    """

    source_axes: Triple
    taps: tuple[AxisTaps, AxisTaps, AxisTaps]
    inside: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]


def separable_taps(from_grid: Grid, to_grid: Grid, average: bool = True) -> SeparableTaps | None:
    """The taps that lead from one grid to another; None where their axes are not parallel.

    Axes are parallel where the error is below `ROUND_OFF_VOX` over the whole target. average: along
    an axis where the target's step spans m >= 2 whole source voxels, take the mean of m linear
    samples, evenly spaced within the target voxel; otherwise one sample at its centre.
    """
    parallel = _parallel_axes(from_grid, to_grid)
    if parallel is None:
        return None
    counts = [from_grid.shape[axis] for axis in parallel.source_axes]
    taps_k, taps_j, taps_i = (
        _axis_taps(positions, step, count, average)
        for positions, step, count in zip(parallel.positions, parallel.steps, counts, strict=True)
    )
    inside_k, inside_j, inside_i = (
        (positions > -0.5 - ROUND_OFF_VOX) & (positions < count - 0.5 + ROUND_OFF_VOX)
        for positions, count in zip(parallel.positions, counts, strict=True)
    )
    return SeparableTaps(
        parallel.source_axes, (taps_k, taps_j, taps_i), (inside_k, inside_j, inside_i)
    )


@dataclass(frozen=True, eq=False)
class _ParallelAxes:
    """For each target axis: the source axis along it, positions (n,) there, and their step.

    Positions and steps are in source voxels.
    """

    source_axes: Triple
    positions: tuple[Array, ...]
    steps: tuple[float, ...]


def _parallel_axes(from_grid: Grid, to_grid: Grid) -> _ParallelAxes | None:
    """None where an axis of one grid is not parallel to one of the other."""
    matrix = voxel_map(from_grid, to_grid)
    last = np.array(to_grid.shape) - 1
    reach = np.abs(matrix[:3, :3]) * last  # [source axis, target axis], in source voxels

    def drift(source_axes: tuple[int, ...]) -> tuple[float, float]:
        own = np.zeros((3, 3), bool)
        own[source_axes, range(3)] = True
        # Of equally good pairs of axes (where the target has one voxel) the most parallel are taken
        return float(np.where(own, 0, reach).sum(1).max()), -float(
            np.abs(matrix[:3, :3][own]).sum()
        )

    source_axes = min(permutations(range(3)), key=drift)
    if drift(source_axes)[0] > ROUND_OFF_VOX:
        return None
    positions, steps = [], []
    for axis, source_axis in enumerate(source_axes):
        row = matrix[source_axis]
        # At the middle of the other axes, where what their tilt neglects is least
        others = row[:3] @ (last / 2) - row[axis] * last[axis] / 2
        positions.append(_snapped(row[axis] * np.arange(last[axis] + 1) + row[3] + others))
        steps.append(float(row[axis]))
    k, j, i = source_axes
    return _ParallelAxes((k, j, i), tuple(positions), tuple(steps))


def _snapped(positions: Array) -> Array:
    """Positions, those that are whole but for round-off made whole."""
    whole = np.rint(positions)
    snapped: Array = np.where(np.abs(positions - whole) < _ON_VOXEL, whole, positions)
    return snapped


def sample_count(span_vox: float, average: bool = True) -> int:
    """How many samples are averaged where a target voxel spans this many source voxels."""
    return max(1, int(np.floor(abs(span_vox) + 1e-6))) if average else 1


def sub_positions(count: int) -> Array:
    """(count,) evenly spaced within a voxel around its centre, in voxels."""
    offsets: Array = (np.arange(count) + 0.5) / count - 0.5
    return offsets


def _axis_taps(positions: Array, step: float, count: int, average: bool) -> AxisTaps:
    """The taps of target voxels at ``positions`` along a source axis of ``count`` voxels."""
    samples = _snapped(positions[:, None] + step * sub_positions(sample_count(step, average)))
    samples = np.clip(samples, 0, count - 1)  # (n, samples)
    lower = np.floor(samples).astype(np.int64)
    first = lower.min(1, keepdims=True)
    weight = np.zeros((len(samples), int((lower - first).max()) + 2))
    rows = np.arange(len(samples))[:, None]
    upper_share = samples - lower
    np.add.at(weight, (rows, lower - first), (1 - upper_share) / samples.shape[1])
    np.add.at(weight, (rows, lower - first + 1), upper_share / samples.shape[1])
    used = weight.any(0)
    index = np.minimum(first + np.arange(weight.shape[1]), count - 1)
    return AxisTaps(index[:, used], weight[:, used].astype(np.float32))
