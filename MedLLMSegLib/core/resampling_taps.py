"""Which source voxels each voxel of a target grid reads, and with which weights: "taps".

Most pairs of grids have parallel axes, whatever their order and direction. Interpolation then goes
one axis after the other, with a few taps for each target voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from .geometry import ROUND_OFF_VOX, Box, Grid, voxel_map
from .types import Array, Triple

# Positions this near a whole voxel are on it, so that equal grids need one tap each.
_ON_VOXEL = 1e-5


@dataclass(frozen=True, eq=False)
class AxisTaps:
    """What each of n target voxels along one axis reads: t source voxels, and their weights.

    index: int64 (n, t), within the source: its outermost voxels are repeated beyond its edges.
    weight: float32 (n, t); each row's sum is 1.
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

    def of_box(self, box: Box) -> SeparableTaps:
        """The taps of a box [k, j, i] of the target."""
        k, j, i = (
            AxisTaps(along.index[span], along.weight[span])
            for along, span in zip(self.taps, box, strict=True)
        )
        inside_k, inside_j, inside_i = (
            inside[span] for inside, span in zip(self.inside, box, strict=True)
        )
        return SeparableTaps(self.source_axes, (k, j, i), (inside_k, inside_j, inside_i))


def separable_taps(from_grid: Grid, to_grid: Grid, average: bool = True) -> SeparableTaps | None:
    """The taps that lead from one grid to another; None where their axes are not parallel.

    Axes are parallel where the error is below `ROUND_OFF_VOX` over the whole target. average: along
    an axis where the target's step spans m >= 2 whole source voxels, take the mean of m linear
    samples, evenly spaced within the target voxel; otherwise one sample at its centre. That is for
    the way onto a coarser grid. On the way back to the scan it is wrong: at the centre of a thick
    slice a network saw the slice itself, which is a mean already.
    """
    parallel = parallel_axes(from_grid, to_grid)
    return None if parallel is None else parallel.linear_taps(average)


@dataclass(frozen=True, eq=False)
class ParallelAxes:
    """Where the voxels of a target grid lie along the parallel axes of a source grid.

    All in the order (k, j, i) of the target's axes. source_axes: see `SeparableTaps`. counts:
    voxels of those axes. positions: float (n,) of the target's voxel centres, and steps from one to
    the next, in source voxels.
    """

    source_axes: Triple
    counts: Triple
    positions: tuple[Array, Array, Array]
    steps: tuple[float, float, float]

    def linear_taps(self, average: bool) -> SeparableTaps:
        """For trilinear interpolation; average: see `separable_taps`."""
        axes = zip(self.positions, self.steps, self.counts, strict=True)
        taps_k, taps_j, taps_i = (
            _linear(positions, step, sample_count(step) if average else 1, count)
            for positions, step, count in axes
        )
        return SeparableTaps(self.source_axes, (taps_k, taps_j, taps_i), self.within(0.5))

    def nearest_taps(self) -> SeparableTaps:
        """For nearest-neighbour interpolation: one tap each."""
        taps_k, taps_j, taps_i = (
            _nearest(positions, count)
            for positions, count in zip(self.positions, self.counts, strict=True)
        )
        return SeparableTaps(self.source_axes, (taps_k, taps_j, taps_i), self.within(0.5))

    def within(self, margin_vox: float) -> tuple[Array, Array, Array]:
        """Which target voxels, bool (n,) each, lie no further than this beyond the outermost
        source voxels' centres.
        """
        margin = margin_vox + ROUND_OFF_VOX
        k, j, i = (
            (positions > -margin) & (positions < count - 1 + margin)
            for positions, count in zip(self.positions, self.counts, strict=True)
        )
        return k, j, i


def parallel_axes(from_grid: Grid, to_grid: Grid) -> ParallelAxes | None:
    """None where an axis of the target is not parallel to one of the source."""
    matrix = voxel_map(from_grid, to_grid)
    slopes = np.abs(matrix[:3, :3])  # [source axis, target axis]
    last = np.array(to_grid.shape) - 1

    def misfit(source_axes: tuple[int, ...]) -> tuple[float, float]:
        own = np.zeros((3, 3), bool)
        own[source_axes, range(3)] = True
        # One voxel counts as much as two: it may be sampled over its whole extent
        drift_vox = np.where(own, 0, slopes * np.maximum(last, 1)).sum(1).max()
        return max(ROUND_OFF_VOX, float(drift_vox)), -float(slopes[own].sum())

    source_axes = min(permutations(range(3)), key=misfit)
    if misfit(source_axes)[0] > ROUND_OFF_VOX:
        return None

    def positions(axis: int) -> Array:
        row = matrix[source_axes[axis]]
        # In the middle of the other axes, where what is left of their tilt matters least
        others = row[:3] @ (last / 2) - row[axis] * last[axis] / 2
        return _snapped(row[axis] * np.arange(to_grid.shape[axis]) + row[3] + others)

    k, j, i = source_axes
    return ParallelAxes(
        (k, j, i),
        (from_grid.shape[k], from_grid.shape[j], from_grid.shape[i]),
        (positions(0), positions(1), positions(2)),
        (float(matrix[k, 0]), float(matrix[j, 1]), float(matrix[i, 2])),
    )


def _snapped(positions: Array) -> Array:
    """Positions; those that are whole but for round-off are made whole."""
    whole = np.rint(positions)
    snapped: Array = np.where(np.abs(positions - whole) < _ON_VOXEL, whole, positions)
    return snapped


def sample_count(span_vox: float) -> int:
    """How many samples are averaged where a target voxel spans this many source voxels."""
    return max(1, int(np.floor(abs(span_vox) + 1e-6)))


def sub_positions(count: int) -> Array:
    """(count,) evenly spaced places in a voxel, in voxels from its centre."""
    places: Array = (np.arange(count) + 0.5) / count - 0.5
    return places


def _linear(positions: Array, step: float, samples: int, count: int) -> AxisTaps:
    """The mean of linear samples around each position along an axis of ``count`` voxels."""
    places = _snapped(positions[:, None] + step * sub_positions(samples))
    places = np.clip(places, 0, count - 1)  # (n, samples)
    lower = np.floor(places).astype(np.int64)
    first = lower.min(1, keepdims=True)
    weight = np.zeros((len(places), int((lower - first).max(initial=0)) + 2))
    row = np.arange(len(places))[:, None]
    upper_share = places - lower
    np.add.at(weight, (row, lower - first), (1 - upper_share) / samples)
    np.add.at(weight, (row, lower - first + 1), upper_share / samples)
    used = weight.any(axis=0)
    index = np.minimum(first + np.arange(weight.shape[1]), count - 1)
    return AxisTaps(index[:, used], weight[:, used].astype(np.float32))


def _nearest(positions: Array, count: int) -> AxisTaps:
    # Half-way between two voxels the upper one is taken, whatever the round-off
    nearest = np.floor(positions + 0.5 + _ON_VOXEL).astype(np.int64)
    index = np.clip(nearest, 0, count - 1)[:, None]
    return AxisTaps(index, np.ones(index.shape, np.float32))
