"""A flat X-ray image from any file, as a reader sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.display_orientation import AS_STORED, DisplayOrientation, upright_orientation
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.core.windowing import EXACT, Window
from MedLLMSegLib.io.dicom.single_image import read_dicom_image
from MedLLMSegLib.io.dicom.sort import is_dicom

from .grey_levels import choose_window, grey_levels
from .itk_images import scan_suffix
from .pictures import MAX_GREY_DIFFERENCE, STORED_IN_COLOUR, is_picture, read_picture
from .volume_files import load_volume

READABLE = "one DICOM file, PNG, JPEG, TIFF, or a NIfTI, NRRD or MHA volume of one slice"
TURNED = (
    "By its axes the image is not stored upright; it was turned to be seen as 3D Slicer shows it."
)
# No radiograph has values this low; every CT of a chest has, because air is -1000.
HOUNSFIELD_AIR = -900
# The orientation of a flat file that states none: it is shown as it is stored, like a picture.
AS_PICTURE = "LPS"
UNKNOWN_PIXEL_MM = (1.0, 1.0)
_8_BIT_WINDOW = Window(127.5, 255.0, EXACT)


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A flat X-ray image.

    array: (rows, columns) float32 from 0 (black) to 1 (white), after the window, bones bright, in
    the displayed orientation.
    volume: the image as a volume of one slice with the file's own values; maps lie on its grid.
    view: "PA", "AP", "lateral" or "" (unknown).
    modality: DICOM's code such as "CR"; "" if the file states none.
    body_part: DICOM's, or "".
    notes: sentences for the user (what was assumed).
    orientation: from the volume's rows and columns to those of the array.
    spacing_known: whether the volume's spacing is the patient's. That of a picture, if there is
    one, is the printer's (dpi).
    """

    array: NDArray[np.float32]
    volume: Volume
    view: str = ""
    modality: str = ""
    body_part: str = ""
    notes: tuple[str, ...] = ()
    orientation: DisplayOrientation = AS_STORED
    spacing_known: bool = True

    @property
    def turn(self) -> DisplayOrientation:
        """`orientation`, by its name in version 0.3."""
        return self.orientation

    @property
    def sized(self) -> bool:
        """`spacing_known`, by its name in version 0.3."""
        return self.spacing_known

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Size of a displayed pixel along (columns, rows); 1 mm each if the file states none."""
        volume = self.volume
        sizes = zip(volume.spacing_mm, volume.array.shape[-3:], strict=True)
        in_plane = [spacing for spacing, n in sizes if n > 1][-2:]
        if len(in_plane) != 2 or not min(in_plane) > 0:
            return UNKNOWN_PIXEL_MM
        along_rows, along_columns = in_plane
        if self.orientation.transposed:
            return along_rows, along_columns
        return along_columns, along_rows


def load_radiograph(path: PathLike, window: int | None = None, ct: bool = False) -> Radiograph:
    """Read a flat X-ray image from a file.

    window: which of a DICOM file's windows (followed by its VOI look-up tables) to use, counted
    from 1; None for the first. Without any, the window goes from the 0.5th to the 99.5th
    percentile, and a note says so. An 8 bit picture keeps its values.
    ct: whether to accept values like a CT's from a file that states no modality.
    Raises `UserError` for anything but one grey image.
    """
    path = Path(path).expanduser()
    if os.path.isdir(path):
        raise UserError(
            f'"{path}" is a folder, and a file is needed: {READABLE}; name the image itself.'
        )
    if not os.path.exists(path):
        raise UserError(f'There is no file "{path}"; check the path.')
    if is_picture(path) or scan_suffix(path):
        if window is not None:
            raise UserError(
                f'"{path}" has no windows to choose from, as only DICOM files have them; leave the'
                " window out."
            )
        return _from_picture(path) if is_picture(path) else _from_volume(path, ct)
    if is_dicom(path):
        return _from_dicom(path, window, ct)
    if path.stat().st_size == 0:
        raise UserError(f'"{path}" is empty (0 bytes); copy or export it again.')
    raise UserError(
        f'"{path}" is not an image that can be read here ({READABLE}); convert it to one of these.'
    )


def _from_volume(path: Path, ct: bool) -> Radiograph:
    return radiograph_of(load_volume(path, assume_orientation=AS_PICTURE), ct=ct)


def _from_picture(path: Path) -> Radiograph:
    picture = read_picture(path)
    window = _8_BIT_WINDOW if picture.volume.array.dtype == np.uint8 else None
    array, notes = grey_levels(picture.volume, window, inverted=picture.white_is_zero)
    return Radiograph(
        np.ascontiguousarray(picture.orientation.to_shown(array)),
        picture.volume,
        notes=(*picture.notes, *notes),
        orientation=picture.orientation,
        spacing_known=False,
    )


def _from_dicom(path: Path, number: int | None, ct: bool) -> Radiograph:
    image = read_dicom_image(path)
    window, window_notes = choose_window(image.windows, number, path)
    array, notes = grey_levels(image.volume, window, image.inverted, image.padding)
    radiograph = Radiograph(
        array,
        image.volume,
        image.view,
        image.modality,
        image.body_part,
        (*image.notes, *window_notes, *notes),
    )
    if not ct:
        _check_no_ct(radiograph)
    return radiograph


def radiograph_of(
    volume: Volume, view: str = "", modality: str = "", ct: bool = False
) -> Radiograph:
    """A volume of one slice, as 3D Slicer loads a flat image.

    It is oriented as the nearest of Slicer's slice views shows it. Its tags may hold
    "window_center" and "window_width" (as DICOM's), and "inverted" (1: the lowest value is white).
    view, modality: as in `Radiograph`. ct: as for `load_radiograph`. Raises `UserError` for a
    volume of several slices.
    """
    grey, colour_notes = _without_colour(volume)
    array = _single_slice(grey)
    flat = replace(grey, array=array)
    shown, notes = grey_levels(flat, _window_in_tags(flat), bool(flat.tags.get("inverted")))
    orientation = upright_orientation(flat.ijk_to_ras, array.shape.index(1))
    turned_notes = () if orientation == AS_STORED else (TURNED,)
    radiograph = Radiograph(
        np.ascontiguousarray(orientation.to_shown(shown)),
        flat,
        view,
        modality,
        notes=(*volume.notes, *colour_notes, *notes, *turned_notes),
        orientation=orientation,
    )
    if not ct:
        _check_no_ct(radiograph)
    return radiograph


def _window_in_tags(volume: Volume) -> Window | None:
    center, width = volume.tags.get("window_center"), volume.tags.get("window_width")
    if center is None or width is None or not width > 0:
        return None
    return Window(center, width)


def _single_slice(volume: Volume) -> Array:
    """The array [k, j, i] of a grey volume of one slice. Raises `UserError` for any other."""
    array = volume.array
    if array.ndim == 4 and array.shape[0] > 1:
        raise UserError(
            f'"{volume.name}" is a series of {array.shape[0]} images or a colour image, and'
            " one flat grey image is needed; save the wanted one as a file of its own."
        )
    array = array.reshape(array.shape[-3:])
    if array.ndim != 3 or 1 not in array.shape:
        size = " x ".join(map(str, array.shape[::-1]))
        raise UserError(
            f'"{volume.name}" is a 3D scan ({size} voxels), and one flat X-ray image is needed;'
            f" choose {READABLE}."
        )
    if array.dtype.kind not in "biuf":
        raise UserError(
            f'"{volume.name}" holds {array.dtype} values, and plain grey values are needed;'
            " convert it."
        )
    return array


def _without_colour(volume: Volume) -> tuple[Volume, tuple[str, ...]]:
    """The grey values of a flat volume whose colours are all grey, with a note for the user.

    Any other volume is returned as it is.
    """
    array = volume.array
    is_flat_colour = array.ndim == 4 and array.shape[0] in (3, 4) and array.shape[1] == 1
    if not is_flat_colour:
        return volume, ()
    if np.ptp(array[:3].astype(np.float32), axis=0).max() > MAX_GREY_DIFFERENCE:
        return volume, ()
    grey = replace(volume, array=array[1])
    return grey, (STORED_IN_COLOUR,)


def _check_no_ct(radiograph: Radiograph) -> None:
    low = float(radiograph.volume.array.min())
    if not radiograph.modality and low <= HOUNSFIELD_AIR:
        raise UserError(
            f'"{radiograph.volume.name}" has values down to {low:g}, as a CT slice in Hounsfield'
            " units, and an X-ray image is needed; choose the X-ray."
        )
