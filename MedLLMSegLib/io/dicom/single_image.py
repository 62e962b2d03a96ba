"""One flat DICOM image (a radiograph) as the reader should see it.

Grey values, windows, view and modality come from its tags.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.core.windowing import LINEAR, Lut, Window
from MedLLMSegLib.io.itk_images import check_file_name, image_to_volume, run_reader, unreadable
from MedLLMSegLib.io.pictures import grey_image

from .header import IMAGE_IO, DicomHeader, read_header
from .luts import MODALITY, VOI, read_luts, transfer_syntax
from .series import dicom_files, is_dicom

# Transfer syntaxes of MPEG-2, MPEG-4 and HEVC videos
_VIDEO_SYNTAXES = tuple(b"1.2.840.10008.1.2.4.%d" % n for n in range(100, 109))
LATERAL = ("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT")


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One flat image as its tags describe it.

    volume: [1, rows, columns] of the values after the modality's rescaling or look-up table.
    inverted: the lowest value is white (MONOCHROME1).
    windows: those of the tags, in order, then the VOI look-up tables.
    view: "PA", "AP", "lateral" or "". modality: such as "CR", or "". body_part: DICOM's, or "".
    padding: bool [rows, columns] of pixels that hold no image, or None.
    notes: sentences for the user.
    """

    volume: Volume
    inverted: bool
    windows: tuple[Window | Lut, ...]
    view: str
    modality: str
    body_part: str
    padding: NDArray[np.bool_] | None
    notes: tuple[str, ...]


def read_dicom_image(path: PathLike) -> DicomImage:
    """Read one DICOM file of one flat image, without the other files of its series.

    Raises `UserError`.
    """
    path = Path(path)
    check_file_name(path)
    _check_no_video(path)
    try:
        header = read_header(path)
    except RuntimeError as error:
        raise UserError(
            f'"{path}" holds no DICOM image that can be read (it may be damaged, or a report or'
            " plan instead of an image); export it again."
        ) from error
    _check_one_frame(header, path)
    if header.number("0028|0101") == 1:
        raise UserError(
            f'"{path}" is black and white (1 bit), and grey values are needed; export the image'
            " itself."
        )
    colour_or_grey = run_reader(sitk.ImageFileReader(), IMAGE_IO, path, str(path))
    image, notes = grey_image(colour_or_grey, str(path))
    name = path.stem if path.suffix.lower() in (".dcm", ".ima") else path.name
    return _interpreted(image_to_volume(image, name), header, path, notes)


def _check_no_video(path: Path) -> None:
    """Raise `UserError` for a video, which is known by its encoding.

    GDCM reads the header of an MPEG film, and would take its bytes for grey values.
    """
    try:
        with open(path, "rb") as file:
            syntax = transfer_syntax(file)
    except OSError as error:
        raise unreadable(path, error) from error
    except struct.error:  # cut off within its first elements: the error comes when it is read
        return
    if syntax in _VIDEO_SYNTAXES:
        raise UserError(
            f'"{path}" is a video, and one still image is needed; export the wanted frame as a file'
            " of its own."
        )


def _check_one_frame(header: DicomHeader, path: Path) -> None:
    stated_frames = int(header.number("0028|0008") or 1)
    frames = max(stated_frames, *header.size[2:3], 1)
    if frames > 1:
        raise UserError(
            f'"{path}" is a DICOM file of {frames} frames (a video or a 3D scan), and one still'
            " image is needed; export the wanted frame as a file of its own."
        )


def _interpreted(
    volume: Volume, header: DicomHeader, path: Path, notes: tuple[str, ...]
) -> DicomImage:
    """The image with its tags applied: rescaling, look-up tables, windows and padding."""
    inverted = header.text("0028|0004") == "MONOCHROME1"
    signed = header.number("0028|0103") == 1
    rescaling = _Rescaling.of(header)
    values = volume.array.astype(np.float64)
    if inverted:
        values = rescaling.uninverted(values, header)
    luts = read_luts(path, signed or float(values.min()) < 0)
    padding = _padding_mask(values[0], header, rescaling)
    if luts[MODALITY]:
        values = luts[MODALITY][0].entries(values)
    windows, has_invalid_window = _windows(header)
    if has_invalid_window:
        notes += ("A window in the file's tags is not valid and was left out.",)
    return DicomImage(
        volume=Volume(np.ascontiguousarray(values, np.float32), volume.ijk_to_ras, volume.name),
        inverted=inverted,
        windows=(*windows, *luts[VOI]),
        view=_view(header),
        modality=header.text("0008|0060").upper(),
        body_part=header.text("0018|0015").upper(),
        padding=padding,
        notes=notes,
    )


@dataclass(frozen=True)
class _Rescaling:
    """DICOM's modality rescaling: value = stored value * slope + intercept."""

    slope: float
    intercept: float

    @classmethod
    def of(cls, header: DicomHeader) -> _Rescaling:
        slope, intercept = header.number("0028|1053"), header.number("0028|1052")
        return cls(1.0 if slope is None else slope, intercept or 0.0)

    def __call__(self, stored: float) -> float:
        return stored * self.slope + self.intercept

    def uninverted(self, values: Array, header: DicomHeader) -> Array:
        """The values of a MONOCHROME1 image as its windows count them.

        GDCM inverts the stored values before it rescales them; this undoes it.
        """
        if header.number("0028|0103") == 1:
            highest_stored = -1.0
        else:
            bits_stored = header.number("0028|0101")
            highest_stored = 2.0 ** int(8 if bits_stored is None else bits_stored) - 1
        original: Array = highest_stored * self.slope + 2 * self.intercept - values
        return original


def _padding_mask(
    values: Array, header: DicomHeader, rescaling: _Rescaling
) -> NDArray[np.bool_] | None:
    """Bool (rows, columns) of pixels without image; None if there are none or nothing else."""
    padding_value = header.number("0028|0120")
    if padding_value is None:
        return None
    mask: NDArray[np.bool_] = values == rescaling(padding_value)
    return mask if mask.any() and not mask.all() else None


def _windows(header: DicomHeader) -> tuple[list[Window], bool]:
    """The valid windows of the tags, and whether there is an invalid one."""
    centers, widths = header.numbers("0028|1050"), header.numbers("0028|1051")
    names = [name.strip() for name in header.text("0028|1055").split("\\")]
    function = header.text("0028|1056").upper() or LINEAR
    windows = [
        Window(center, width, function, names[n] if n < len(names) else "")
        for n, (center, width) in enumerate(zip(centers, widths, strict=False))
        if np.isfinite((center, width)).all() and width > 0
    ]
    return windows, len(windows) < max(len(centers), len(widths))


def _view(header: DicomHeader) -> str:
    """The direction of the X-rays: "PA", "AP", "lateral", or "" if no tag states it.

    Tags in order: view position, patient orientation, series and protocol description.
    """
    position = header.text("0018|5101").upper()
    if position in ("PA", "AP"):
        return position
    if position in LATERAL:
        return "lateral"
    row_direction = header.text("0020|0020").upper().split("\\")[0]
    if row_direction.startswith(("A", "P")):  # rows run to the front or back of the body
        return "lateral"
    description = f"{header.text('0008|103e')} {header.text('0018|1030')}".upper()
    words = set(re.findall(r"[A-Z]+", description))
    if not row_direction and words & set(LATERAL):
        return "lateral"
    frontal_views = words & {"PA", "AP"}
    return frontal_views.pop() if len(frontal_views) == 1 else ""


def dicom_modality(path: PathLike) -> str:
    """DICOM's modality code (such as "CT") of a file, or of the first DICOM file in a folder.

    "" for anything else.
    """
    path = Path(path)
    try:
        files = dicom_files(path) if path.is_dir() else [path]
        first = next((file for file in files if is_dicom(file)), None)
        if first is None:
            return ""
        check_file_name(first)
        return read_header(first).text("0008|0060").upper()
    except (RuntimeError, OSError, UserError):  # loading the file says what is wrong
        return ""
