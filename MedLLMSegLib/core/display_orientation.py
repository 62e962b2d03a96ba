"""How a single-slice volume is oriented on screen, as in 3D Slicer's slice views.

The axes of a file may run in any direction, so its first row need not be the top of the picture.
Pictures and DICOM images are stored the way they are shown; volumes need not be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .types import Array

RIGHT, ANTERIOR, SUPERIOR = np.eye(3)
# The RAS directions to the right and to the bottom of the screen in Slicer's sagittal, coronal and
# axial views.
VIEWS = ((-ANTERIOR, -SUPERIOR), (-RIGHT, -SUPERIOR), (-RIGHT, -ANTERIOR))


@dataclass(frozen=True)
class DisplayOrientation:
    """The step from the stored rows and columns of a flat image to the displayed ones.

    transposed: rows and columns are swapped first. flip_rows, flip_columns: the order of the
    rows, and of the columns, is then reversed.
    """

    transposed: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def to_shown(self, stored: Array) -> Array:
        """Stored (rows, columns) to displayed (rows, columns)."""
        return self._flipped(stored.T if self.transposed else stored)

    def to_stored(self, shown: Array) -> Array:
        """Displayed (rows, columns) to stored (rows, columns): the inverse of `to_shown`."""
        flipped = self._flipped(shown)
        return flipped.T if self.transposed else flipped

    def stored_shape(self, shown: tuple[int, ...]) -> tuple[int, int]:
        """The stored shape of an image with this displayed shape (rows, columns)."""
        rows, columns = shown
        return (columns, rows) if self.transposed else (rows, columns)

    # The names of version 0.3, where this was the `turn` of a `Diagnosis`:
    shown = to_shown
    stored = to_stored

    @property
    def rows(self) -> bool:
        return self.flip_rows

    @property
    def columns(self) -> bool:
        return self.flip_columns

    def _flipped(self, image: Array) -> Array:
        row_step = -1 if self.flip_rows else 1
        column_step = -1 if self.flip_columns else 1
        return image[::row_step, ::column_step]


AS_STORED = DisplayOrientation()


def upright_orientation(ijk_to_ras: Array, axis: int) -> DisplayOrientation:
    """How to show a single-slice volume as the nearest of Slicer's slice views shows it.

    ijk_to_ras: (4, 4). axis: the axis of the array [k, j, i] (0, 1 or 2) with one slice. For an
    invalid matrix the image is shown as it is stored.
    """
    steps = np.asarray(ijk_to_ras, float)[:3, 2::-1]  # columns: the axes k, j, i in RAS
    lengths = np.linalg.norm(steps, axis=0)
    if not np.isfinite(lengths).all() or not lengths.all():
        return AS_STORED
    # The directions in RAS from row to row and from column to column.
    down, right = np.delete(steps / lengths, axis, axis=1).T
    nearest_view = int(np.abs(np.cross(down, right)).argmax())
    view_right, view_down = VIEWS[nearest_view]
    match_as_stored = abs(right @ view_right) + abs(down @ view_down)
    match_transposed = abs(down @ view_right) + abs(right @ view_down)
    transposed = bool(match_transposed > match_as_stored + 1e-6)
    if transposed:
        down, right = right, down
    return DisplayOrientation(
        transposed, flip_rows=bool(down @ view_down < 0), flip_columns=bool(right @ view_right < 0)
    )
