"""A flat X-ray image from any file, as a reader sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.display_orientation import AS_STORED, DisplayOrientation, upright_orientation
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.core.windowing import Lut, Window, percentile_window
from MedLLMSegLib.io.dicom.series import is_dicom
from MedLLMSegLib.io.dicom.single_image import read_dicom_image

from .itk_images import scan_suffix
from .pictures import SAME_GREY, STORED_IN_COLOUR, is_picture, read_picture
from .volume_files import load_volume, scan_name

READABLE = "one DICOM file, PNG, JPEG, TIFF, or a NIfTI, NRRD or MHA volume of one slice"
SMALLEST = 32  # pixels of a side: an icon or a strip is no radiograph
TURNED = (
    "By its axes the image is not stored upright; it was turned to be seen as 3D Slicer shows it."
)
HOUNSFIELD_AIR = (
    -900
)  # no radiograph has values of 900 below zero; every CT of a chest has, as air is -1000


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A flat X-ray image.

    array: (rows, columns) float32 from 0 (black) to 1 (white): after the window, bones bright; as
    it is shown. volume: the image as a volume of one slice, with the values of the file: the grid
    for maps. turn: from its rows and columns to those of the array. view: "PA", "AP", "lateral" or
    "" (not known). modality: DICOM's code such as "CR", "" for a file that has none. body_part:
    DICOM's, or "". notes: sentences for the user (what was assumed). sized: whether its volume's
    spacing is the patient's; a picture's, where it has one, is the printer's (dpi).
    """

    array: np.ndarray
    volume: Volume
    view: str = ""
    modality: str = ""
    body_part: str = ""
    notes: tuple[str, ...] = ()
    orientation: DisplayOrientation = AS_STORED
    spacing_known: bool = True


def load_radiograph(path, window: int | None = None, ct: bool = False) -> Radiograph:
    """Read a flat X-ray image from a file.

    window: which of a DICOM file's windows (and VOI look-up tables after them) to use, counted from
    1; None for the first. Without any, the window goes from the 0.5th to the 99.5th percentile, and
    a note says so; an 8 bit picture is taken as it is. ct: whether values as a CT's, in a file that
    states no modality, are welcome too. Raises `UserError` for anything but one grey image.
    """
    path = Path(path).expanduser()
    if not os.path.exists(path) or os.path.isdir(path):
        raise UserError(
            f'"{path}" is a folder, and a file is needed: {READABLE}; name the image itself.'
            if os.path.isdir(path)
            else f'There is no file "{path}"; check the path.'
        )
    if is_picture(path):
        if window is not None:
            raise _no_window(path)
        volume, inverted, notes = read_picture(path)
        plain = Window(127.5, 255.0, "LINEAR_EXACT") if volume.array.dtype == np.uint8 else None
        return replace(_radiograph(volume, plain, inverted, notes=notes), spacing_known=False)
    if scan_suffix(path):
        if window is not None:
            raise _no_window(path)
        return radiograph_of(load_volume(path), ct=ct)
    if not is_dicom(path):
        if path.stat().st_size == 0:
            raise UserError(f'"{path}" is empty (0 bytes); copy or export it again.')
        raise UserError(
            f'"{path}" is not an image that can be read here ({READABLE}); convert it to one of'
            " these."
        )
    found = read_dicom_image(path)
    chosen, notes = _choose_window(found.windows, window, path)
    shown = _radiograph(
        found.volume, chosen, found.inverted, found.modality, (*found.notes, *notes), found.padding
    )
    _check_no_ct(shown, ct)
    return replace(shown, view=found.view, body_part=found.body_part)


def radiograph_of(
    volume: Volume, view: str = "", modality: str = "", ct: bool = False
) -> Radiograph:
    """A volume of one slice, as 3D Slicer loads a flat image; seen as its slice views show it,
    however its axes run.

    Its tags may hold "window_center" and "window_width" (as DICOM's), and "inverted" (1: the lowest
    value is white). view, modality: as in `Radiograph`. ct: as for `load_radiograph`. Raises
    `UserError` for a volume of several slices.
    """
    volume, notes = _without_colour(volume)
    if volume.array.ndim == 4 and volume.array.shape[0] > 1:
        raise UserError(
            f'"{volume.name}" is a series of {volume.array.shape[0]} images or a colour image, and'
            " one flat grey image is needed; save the wanted one as a file of its own."
        )
    array = volume.array.reshape(volume.array.shape[-3:])
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
    tags = volume.tags
    window = (
        Window(tags["window_center"], tags["window_width"])
        if tags.get("window_width", 0) > 0 and "window_center" in tags
        else None
    )
    flat, orientation = (
        Volume(array, volume.ijk_to_ras, volume.name, volume.tags),
        upright_orientation(volume.ijk_to_ras, array.shape.index(1)),
    )
    found = _radiograph(flat, window, bool(tags.get("inverted")), modality, notes)
    _check_no_ct(found, ct)
    turned = (TURNED,) if orientation != AS_STORED else ()
    return replace(
        found,
        array=np.ascontiguousarray(orientation.to_shown(found.array)),
        orientation=orientation,
        view=view,
        notes=(*found.notes, *turned),
    )


def _without_colour(volume: Volume) -> tuple[Volume, tuple[str, ...]]:
    """A volume of red, green, blue (and opacity) whose colours are all grey, as one of grey
    values, with a note.
    """
    array = volume.array
    if array.ndim != 4 or array.shape[0] not in (3, 4) or array.shape[1] != 1:
        return volume, ()
    if np.ptp(array[:3].astype(np.float32), axis=0).max() > SAME_GREY:
        return volume, ()
    return Volume(array[1], volume.ijk_to_ras, volume.name, volume.tags), (STORED_IN_COLOUR,)


def _no_window(path: Path) -> UserError:
    return UserError(
        f'"{path}" has no windows to choose from, as only DICOM files have them; leave the window'
        " out."
    )


def _choose_window(windows: tuple[Window | Lut, ...], number: int | None, path: Path):
    """(window or None, notes)"""
    listed = "; ".join(f"{n}: {each}" for n, each in enumerate(windows, 1))
    if number is not None and not 1 <= number <= len(windows):
        has = f"has {len(windows)} ({listed})" if windows else "has none"
        raise UserError(
            f'Window {number} was asked for, and "{path}" {has}; choose one of these or leave the'
            " window out."
        )
    if not windows:
        return None, ()
    several = (f"The file has {len(windows)} windows ({listed}); number {number or 1} was used.",)
    return windows[(number or 1) - 1], several if len(windows) > 1 else ()


def _radiograph(
    volume: Volume,
    window: Window | Lut | None,
    inverted: bool,
    modality: str = "",
    notes: tuple[str, ...] = (),
    padding: np.ndarray | None = None,
) -> Radiograph:
    """Windowed and checked. volume: one slice along any axis. padding: bool (rows, columns) of
    pixels without image.
    """
    flat = volume.array.reshape(
        [n for n in volume.array.shape if n > 1]
        if sum(n > 1 for n in volume.array.shape) == 2
        else volume.array.shape[-2:]
    )
    _check_flat(flat, volume.name)
    if window is None:
        window = percentile_window(flat if padding is None else flat[~padding])
        notes += (
            (
                "The image names no window for its grey values; the range from the 0.5th to the"
                f" 99.5th percentile ({window.center - window.width / 2:g} to"
                f" {window.center + window.width / 2:g}) was used."
            ),
        )
    shown = window(flat)
    shown = 1 - shown if inverted else shown
    if padding is not None:
        shown = np.where(padding, np.float32(0), shown)
    if shown.max() - shown.min() < 0.01:
        raise UserError(
            f'"{volume.name}" shows nothing in its window ({window}): all is black or white; choose'
            " another window, or correct it in the file."
        )
    return Radiograph(
        np.ascontiguousarray(shown, np.float32), volume, modality=modality, notes=notes
    )


def _check_flat(flat: np.ndarray, name: str) -> None:
    if min(flat.shape) < SMALLEST:
        raise UserError(
            f'"{name}" has {flat.shape[1]} x {flat.shape[0]} pixels, and at least {SMALLEST} x'
            f" {SMALLEST} are needed; choose the image itself, not its icon."
        )
    low, high = float(flat.min()), float(flat.max())  # NaN and infinity survive min or max
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(
            f'"{name}" has {int((~np.isfinite(flat)).sum())} pixels that are not a number or'
            " infinite; replace them (for example by 0) and try again."
        )
    if low == high:
        raise UserError(
            f'"{name}" has the same value ({low:g}) in every pixel, so there is nothing to see; '
            "check that the right file was chosen."
        )
    if len(np.unique(flat[:: max(1, flat.shape[0] // 256)])) <= 2:
        raise UserError(
            f'"{name}" has two grey values only (a mask, or 1 bit deep), and a grey image is'
            " needed; export the X-ray itself."
        )


def _check_no_ct(radiograph: Radiograph, welcome: bool) -> None:
    low = float(radiograph.volume.array.min())
    if not welcome and not radiograph.modality and low <= HOUNSFIELD_AIR:
        raise UserError(
            f'"{radiograph.volume.name}" has values down to {low:g}, as a CT slice in Hounsfield'
            " units, and an X-ray image is needed; choose the X-ray."
        )


def load_lung_mask(path, radiograph: Radiograph) -> np.ndarray:
    """Bool (rows, columns) of where the lungs are, from a picture or a volume of one slice on
    the radiograph's pixels.
    """
    path = Path(path).expanduser()
    volume = read_picture(path)[0] if is_picture(path) and path.exists() else load_volume(path)
    return lung_mask_of(volume.array, radiograph, scan_name(path))


def lung_mask_of(array: np.ndarray, radiograph: Radiograph, name: str = "lung mask") -> np.ndarray:
    """An array of any label values, 0 outside the lungs, on the stored pixels -> bool (rows,
    columns) of `Radiograph.array`.
    """
    shape = radiograph.orientation.stored_shape(radiograph.array.shape)
    if array.size != shape[0] * shape[1] or [n for n in array.shape if n > 1] != [
        n for n in shape if n > 1
    ]:
        size = " x ".join(map(str, array.shape[::-1]))
        raise UserError(
            f'The lung mask "{name}" has {size} pixels and "{radiograph.volume.name}" {shape[1]} x'
            f" {shape[0]}; draw it on the image itself."
        )
    mask = radiograph.orientation.to_shown(np.asarray(array).reshape(shape) != 0)
    if not mask.any():
        raise UserError(f'The lung mask "{name}" is empty; draw the lungs in it, or leave it out.')
    return mask


def pixel_mm(radiograph: Radiograph) -> tuple[float, float]:
    """Size of a pixel along (columns, rows); 1 where the file has none."""
    kept = [
        s for s, n in zip(radiograph.volume.spacing_mm, radiograph.volume.array.shape) if n > 1
    ][-2:]
    if len(kept) != 2 or not min(kept) > 0:
        return 1.0, 1.0
    return (kept[0], kept[1]) if radiograph.orientation.transposed else (kept[1], kept[0])


def coregistered_channel(first: Radiograph, other: Radiograph, channel: str) -> Radiograph:
    """Another image of the same patient (a CT beside a PET, say), placed on the first one's pixels.

    The two have to be co-registered: as many rows and columns as they are shown, and pixels of the
    same size (to 1 %) where both files tell it; where in the body they lie is not compared. Raises
    `UserError`, which names the channel.
    """
    shapes, sizes = (
        [f(each) for each in (other, first)] for f in (lambda r: r.array.shape[::-1], pixel_mm)
    )
    words = f'The channel {channel} is "{other.volume.name}" with'
    again = "the images of one patient must be co-registered: resample one onto the other."
    if shapes[0] != shapes[1]:
        raise UserError(
            '{} {} x {} pixels, beside "{}" with {} x {}; {}'.format(
                words, *shapes[0], first.volume.name, *shapes[1], again
            )
        )
    known = (
        first.spacing_known and other.spacing_known and (1.0, 1.0) not in sizes
    )  # 1 mm stands for a size that nobody stated, too
    if known and not np.allclose(*sizes, rtol=0.01):
        raise UserError(
            '{} pixels of {:.3g} x {:.3g} mm, beside "{}" with {:.3g} x {:.3g} mm; {}'.format(
                words, *sizes[0], first.volume.name, *sizes[1], again
            )
        )
    return replace(other, volume=first.volume, orientation=first.orientation)
