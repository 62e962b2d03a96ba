"""`Volume`, the only image type of the library, and the checks that a scan must pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from .errors import UserError
from .geometry import Grid
from .types import Array


@dataclass(frozen=True, eq=False)
class NiftiForms:
    """What a NIfTI file says of its position beyond one matrix.

    codes: NIfTI's codes of qform and sform (0: that form is not given). other_ijk_to_ras: (4, 4)
    where other programs (nibabel, FSL) see the voxels, if they see them elsewhere than 3D Slicer.
    """

    codes: tuple[int, int]
    other_ijk_to_ras: Array | None = None


@dataclass(frozen=True)
class Quantity:
    """What the numbers of an image measure, as far as that is known.

    modality: DICOM's code, such as "CT" or "PT" (PET). unit: "HU", "SUV" (by body weight), "BQML"
    or "CNTS" as DICOM calls a PET's. Both are "" where nothing says so, as in NIfTI. suv_factor:
    what the values are multiplied by to become SUV; None where that is not known, and why_no_suv
    says why.
    """

    modality: str = ""
    unit: str = ""
    suv_factor: float | None = None
    why_no_suv: str = ""


@dataclass(frozen=True, eq=False)
class Volume:
    """An image in space.

    array: [k, j, i], or [c, k, j, i] with channels first.
    ijk_to_ras: (4, 4) from voxel indices (i, j, k) to RAS millimetres, like MRML's. The axes may be
    oblique or flipped.
    name: for messages and results.
    tags: further values from the file that a later step needs: "window_center", "window_width",
    "frame_step", "inverted".
    notes: sentences for the user on how the file was read.
    forms: of a scan from a NIfTI file, so that results state their position in the same way.
    quantity: what the numbers measure.
    """

    array: Array
    ijk_to_ras: Array
    name: str = "scan"
    tags: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    forms: NiftiForms | None = None
    quantity: Quantity = Quantity()

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        k, j, i = self.array.shape[-3:]
        return Grid((k, j, i), np.asarray(self.ijk_to_ras, float))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (k, j, i)."""
        return self.grid.spacing_mm

    def with_array(self, array: Array, name: str | None = None) -> Volume:
        """The same grid with other voxels."""
        return Volume(array, self.ijk_to_ras, name or self.name, forms=self.forms)


def check_scan(volume: Volume, channels: int = 1) -> None:
    """Raise `UserError` unless this is one finite, not constant 3D image with a valid grid.

    channels: where several images of a patient are expected as [c, k, j, i], each of which must be
    such an image.
    """
    array = volume.array
    if channels > 1 and array.ndim == 4 and len(array) == channels:
        for channel in array:
            check_scan(replace(volume, array=channel))
        return
    name = f'"{volume.name}"'
    if array.size == 0:
        raise UserError(f"{name} holds no voxels; load a scan with data in it.")
    if array.ndim == 4:
        raise UserError(
            f"{name} is a series of {array.shape[0]} images, and one 3D image is needed; "
            "save the wanted time point or channel as a file of its own and use that."
        )
    if array.ndim != 3 or min(array.shape) < 2:
        size = " x ".join(map(str, array.shape[::-1]))
        raise UserError(
            f"{name} is a flat image ({size} voxels), and a 3D scan is needed; "
            "load the whole series instead of one slice."
        )
    if array.dtype.kind not in "biuf":
        raise UserError(
            f"{name} holds {array.dtype} values, and plain grey values are needed; "
            "convert it to a scalar volume."
        )
    _check_grid(volume, name)
    _check_values(array, name)


def _check_values(array: Array, name: str) -> None:
    # NaN and infinity survive min or max, so no copy is needed to find them.
    low = float(array.min())
    high = float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int(array.size - np.isfinite(array).sum())
        raise UserError(
            f"{name} has {count} voxels that are NaN or infinite; "
            "replace them (for example by 0) and try again."
        )
    if low == high:
        raise UserError(
            f"{name} has the same value ({low:g}) in every voxel, so there is nothing to segment; "
            "check that the right file was loaded."
        )


def _check_grid(volume: Volume, name: str) -> None:
    matrix = np.asarray(volume.ijk_to_ras, float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise UserError(
            f"{name} has no valid position in space (its matrix is {matrix.tolist()}); "
            "export it again with its spacing and direction."
        )
    spacing_mm = volume.spacing_mm
    if min(spacing_mm) < 1e-3:
        sizes = " x ".join(f"{s:g}" for s in spacing_mm[::-1])
        raise UserError(
            f"{name} has a voxel size of {sizes} mm, and none may be zero; "
            "correct the spacing in the file's header."
        )
    if abs(np.linalg.det(volume.grid.directions)) < 1e-3:
        raise UserError(
            f"{name} has axes that lie in one plane; correct the direction in the file's header."
        )
