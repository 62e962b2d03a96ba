"""Where the windows of an image lie, and how much each of their voxels counts. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.types import Triple

SIGMA = 0.125  # of the Gaussian weights, in window lengths along each axis
SMALLEST_WEIGHT = 1e-3


@dataclass(frozen=True)
class WindowPlan:
    """Where the windows of an image lie.

    shape, tile: voxels (k, j, i) of the image and of a window, which is no larger. axis: along
    which finished slabs leave. starts: for each axis the first voxel of each window.
    """

    shape: Triple
    tile: Triple
    axis: int
    starts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, shape: Triple, tile: Triple, overlap: float) -> WindowPlan:
        """Windows that share the part ``overlap`` of their length.

        Slabs leave along k or j, whichever is longer, so that few sums are held; never along i,
        whose voxels lie side by side in memory.
        """
        starts = tuple(
            _starts(length, size, overlap) for length, size in zip(shape, tile, strict=True)
        )
        return cls(shape, tile, int(shape[1] > shape[0]), starts)

    @property
    def count(self) -> int:
        """How many windows there are."""
        k, j, i = (len(starts) for starts in self.starts)
        return k * j * i

    def rows(self) -> Iterator[tuple[int, list[Triple]]]:
        """(first plane along `axis`, corners (k, j, i) of the windows that begin there)."""
        for first in self.starts[self.axis]:
            places = [
                (first,) if axis == self.axis else starts for axis, starts in enumerate(self.starts)
            ]
            yield first, [(k, j, i) for k, j, i in product(*places)]


def _starts(length: int, size: int, overlap: float) -> tuple[int, ...]:
    step = size if size == length else max(1, int(size * (1 - overlap)))
    count = 1 + max(0, -(-(length - size) // step))
    return tuple(min(n * step, length - size) for n in range(count))


def axis_first(triple: Triple, axis: int) -> Triple:
    """Numbers of (k, j, i) with that of one axis first."""
    first, *others = triple[axis], *(n for a, n in enumerate(triple) if a != axis)
    return first, others[0], others[1]


def window_weights(tile: Triple) -> NDArray[np.float32]:
    """float32 [k, j, i]: how much a window's voxels count, as MONAI weighs them."""
    k, j, i = (_gaussian(length) for length in tile)
    weights: NDArray[np.float32] = k[:, None, None] * j[None, :, None] * i[None, None, :]
    weights.clip(max(float(weights.min()), SMALLEST_WEIGHT), None, out=weights)
    return weights


def _gaussian(length: int) -> NDArray[np.float32]:
    distance = np.arange(length, dtype=np.float32) - np.float32((length - 1) / 2)
    weights: NDArray[np.float32] = np.exp(
        np.float32(-0.5) * (distance / np.float32(SIGMA * length)) ** 2
    )
    return weights
