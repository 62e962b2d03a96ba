"""Which way round a flat volume is seen: its rows and columns as 3D Slicer's slice views show them,
and back.

A file's first row need not be the top: axes run any way in space. Pictures and DICOM images come as
they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RIGHT, ANTERIOR, SUPERIOR = np.eye(3)
# What a view across right-left, anterior-posterior and superior-inferior has on its right-hand
# side, and below.
VIEWS = ((-ANTERIOR, -SUPERIOR), (-RIGHT, -SUPERIOR), (-RIGHT, -ANTERIOR))


@dataclass(frozen=True)
class Turn:
    """How a flat image's stored rows and columns become the shown ones: transposed first, then
    each turned round or not.
    """

    transposed: bool = False
    rows: bool = False
    columns: bool = False

    def shown(self, stored: np.ndarray) -> np.ndarray:
        """(rows, columns) as stored -> as shown."""
        turned = stored.T if self.transposed else stored
        return turned[:: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def stored(self, shown: np.ndarray) -> np.ndarray:
        """The way back."""
        turned = shown[:: -1 if self.rows else 1, :: -1 if self.columns else 1]
        return turned.T if self.transposed else turned

    def stored_shape(self, shown: tuple[int, int]) -> tuple[int, int]:
        return tuple(shown[::-1]) if self.transposed else tuple(shown)


def upright(ijk_to_ras: np.ndarray, axis: int) -> Turn:
    """How a volume of one slice is turned, so that it is seen as in the view that it lies nearest
    to.

    ijk_to_ras: (4, 4). axis: of the array [k, j, i] (0, 1 or 2), the one that has one slice. A
    matrix that is not valid turns nothing.
    """
    steps = np.asarray(ijk_to_ras, float)[:3, 2::-1]  # columns: the axes k, j, i in RAS
    length = np.linalg.norm(steps, axis=0)
    if not np.isfinite(length).all() or not length.all():
        return Turn()
    down, right = np.delete(
        steps / length, axis, axis=1
    ).T  # of the stored rows' order and of the columns'
    to_right, to_below = VIEWS[int(np.abs(np.cross(down, right)).argmax())]
    straight, crossed = (
        abs(right @ to_right) + abs(down @ to_below),
        abs(down @ to_right) + abs(right @ to_below),
    )
    transposed = bool(crossed > straight + 1e-6)
    if transposed:
        down, right = right, down
    return Turn(transposed, bool(down @ to_below < 0), bool(right @ to_right < 0))
