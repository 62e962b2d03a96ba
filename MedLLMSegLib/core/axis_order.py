"""The axes of a scan in the order of the body: to the right, to the front and up, as near as whole
axes come to that.

A scan may be stored in 48 ways. Brought into one order first, each is the same array, so that
whatever follows cannot differ by as much as round-off.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from types import EllipsisType

import numpy as np

from .geometry import Grid
from .types import Array, Triple

AS_STORED_AXES: Triple = (0, 1, 2)


@dataclass(frozen=True)
class AxisOrder:
    """How stored axes become ordered ones.

    axes: for each ordered axis (k, j, i) the stored one. signs: -1 where it runs backwards.
    """

    axes: Triple = AS_STORED_AXES
    signs: Triple = (1, 1, 1)

    @classmethod
    def of(cls, grid: Grid) -> AxisOrder:
        """The order that brings k of a grid nearest to up, j to the front and i to the right."""
        steps = grid.directions[::-1, ::-1]  # rows: up, front, right; columns: the axes k, j, i
        axes = max(permutations(range(3)), key=lambda order: _nearness(steps, order))
        up, front, right = axes
        k, j, i = (-1 if steps[row, axis] < 0 else 1 for row, axis in enumerate(axes))
        return cls((up, front, right), (k, j, i))

    @property
    def changes_nothing(self) -> bool:
        """Whether the stored order is this one."""
        return self == AxisOrder()

    def ordered(self, array: Array) -> Array:
        """A view of a stored array [..., k, j, i] in this order."""
        first = array.ndim - 3
        turned = array.transpose(*range(first), *(first + axis for axis in self.axes))
        return turned[self._steps]

    def stored(self, array: Array) -> Array:
        """The inverse of `ordered`."""
        first = array.ndim - 3
        back = [int(axis) for axis in np.argsort(self.axes)]
        return array[self._steps].transpose(*range(first), *(first + axis for axis in back))

    def ordered_grid(self, grid: Grid) -> Grid:
        """Where the voxels of an ordered array lie."""
        k, j, i = (grid.shape[axis] for axis in self.axes)
        matrix = grid.ijk_to_ras.astype(float)
        for place, (axis, sign) in enumerate(zip(self.axes, self.signs, strict=True)):
            step = grid.ijk_to_ras[:3, 2 - axis]
            matrix[:3, 2 - place] = sign * step
            if sign < 0:
                matrix[:3, 3] += (grid.shape[axis] - 1) * step
        return Grid((k, j, i), matrix)

    @property
    def _steps(self) -> tuple[EllipsisType, slice, slice, slice]:
        k, j, i = (slice(None, None, sign) for sign in self.signs)
        return (..., k, j, i)


def _nearness(steps: Array, order: tuple[int, ...]) -> float:
    return float(sum(abs(steps[row, axis]) for row, axis in enumerate(order)))
