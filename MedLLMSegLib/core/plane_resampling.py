"""Taps applied to an image plane by plane, so that all but its own voxels stays in the cache."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from .resampling_taps import AxisTaps, SeparableTaps
from .types import Array

_SLAB_BYTES = 8e6  # of finished planes that are turned into the target's order together


def apply_taps(array: Array, taps: SeparableTaps, out: Array) -> None:
    """Write the weighted sums of an image's voxels [k, j, i] into ``out``.

    out: float32 of the target's shape; of any type where all weights are 1. Only a few planes are
    held beside it, and only what is needed is read of the source.
    """
    # The source's axes in the order of its memory: the planes are contiguous
    source_axes = sorted(range(3), key=lambda axis: -abs(array.strides[axis]))
    target_axes = [taps.source_axes.index(axis) for axis in source_axes]
    source, target = array.transpose(source_axes), out.transpose(target_axes)
    along_axes = [_Along(taps.taps[axis]) for axis in target_axes]
    for axis, along in enumerate(along_axes):
        source = source[(slice(None),) * axis + (along.span,)]
    planes = _Planes(source, along_axes, out.dtype)
    if target.strides[2] == out.itemsize:
        for number, plane in enumerate(target):
            planes.write(number, plane)
        return
    # Each line of the target's memory goes through several planes, which are written together
    count = max(1, min(len(target), int(_SLAB_BYTES / target[0].nbytes)))
    slab = np.empty((count, *target.shape[1:]), out.dtype)
    for first in range(0, len(target), count):
        part = target[first : first + count]
        for number in range(len(part)):
            planes.write(first + number, slab[number])
        part[...] = slab[: len(part)]


class _Along:
    """Taps of one axis, tap by tap. Indices count from the start of ``span``, which they cover."""

    def __init__(self, taps: AxisTaps) -> None:
        first, last = int(taps.index.min()), int(taps.index.max())
        self.span = slice(first, last + 1)
        self.growth = len(taps.index) / (last + 1 - first)
        self.index = np.ascontiguousarray(taps.index.T - first)  # (t, n)
        self.weight = np.ascontiguousarray(taps.weight.T)  # (t, n)
        self.is_gather = len(self.weight) == 1  # one tap of weight 1 each
        self.is_identity = self.is_gather and np.array_equal(
            self.index[0], np.arange(last + 1 - first)
        )

    def of_plane(self, plane: Array, axis: int, out: Array, spare: Array) -> None:
        """Resample a plane (rows, columns) along one of its axes into ``out``."""
        np.take(plane, self.index[0], axis, out, "clip")
        if self.is_gather:
            return
        weights = self.weight[:, :, None] if axis == 0 else self.weight
        out *= weights[0]
        for index, weight in zip(self.index[1:], weights[1:], strict=True):
            np.take(plane, index, axis, spare, "clip")
            spare *= weight
            out += spare


class _Planes:
    """The target's planes, one at a time. Axes that shrink are resampled first: less is left."""

    def __init__(self, source: Array, along_axes: list[_Along], dtype: DTypeLike) -> None:
        self.source, self.dtype = source, np.dtype(dtype)
        self.across, self.rows, self.columns = along_axes
        row_count, column_count = len(self.rows.index[0]), len(self.columns.index[0])
        self.rows_first = self.rows.growth <= 1
        between = (
            (row_count, source.shape[2]) if self.rows_first else (source.shape[1], column_count)
        )
        self.between, self.between_spare = (np.empty(between, dtype) for _ in range(2))
        self.sum, self.sum_spare = (np.empty(source.shape[1:], dtype) for _ in range(2))
        self.spare = np.empty((row_count, column_count), dtype)
        self.resampled: dict[int, Array] = {}  # the source's planes that the last one was made of

    def write(self, number: int, out: Array) -> None:
        """Write one plane of the target, (rows, columns)."""
        index, weight = self.across.index[:, number], self.across.weight[:, number]
        taps = list(zip(index.tolist(), weight, strict=True))
        if self.across.growth <= 1:
            planes = [(self.source[index], weight) for index, weight in taps if weight]
            self._within_plane(self._weighted(planes, self.sum, self.sum_spare), out)
            return
        self.resampled = {
            index: self.resampled[index] if index in self.resampled else self._resampled(index)
            for index, weight in taps
            if weight
        }
        planes = [(self.resampled[index], weight) for index, weight in taps if weight]
        weighted = self._weighted(planes, out, self.spare)
        if weighted is not out:
            out[...] = weighted

    def _weighted(self, planes: list[tuple[Array, np.float32]], out: Array, spare: Array) -> Array:
        """The weighted sum of planes; a single one that is fit as it is, itself."""
        (first, weight), *others = planes
        if not others:
            if first.dtype != self.dtype:
                np.copyto(out, first, casting="unsafe")
                return out
            return first
        np.multiply(first, weight, out, dtype=self.dtype, casting="unsafe")
        for plane, weight in others:
            np.multiply(plane, weight, spare, dtype=self.dtype, casting="unsafe")
            out += spare
        return out

    def _resampled(self, number: int) -> Array:
        """A plane of the source, on the rows and columns of the target."""
        out = np.empty(self.spare.shape, self.dtype)
        plane = self._weighted([(self.source[number], np.float32(1))], self.sum, self.sum_spare)
        self._within_plane(plane, out)
        return out

    def _within_plane(self, plane: Array, out: Array) -> None:
        """Resample the rows and columns of a plane into ``out``."""
        spare = self.spare
        if self.rows.is_identity:
            self.columns.of_plane(plane, 1, out, spare)
        elif self.columns.is_identity:
            self.rows.of_plane(plane, 0, out, spare)
        elif self.rows_first:
            self.rows.of_plane(plane, 0, self.between, self.between_spare)
            self.columns.of_plane(self.between, 1, out, spare)
        else:
            self.columns.of_plane(plane, 1, self.between, self.between_spare)
            self.rows.of_plane(self.between, 0, out, spare)
