"""One flat DICOM image (a radiograph) as the reader should see it.

Grey values, windows, look-up tables, padding, view and modality come from its tags.
Source: DICOM PS3.3, C.7.5.1.1.2 (padding), C.11.1 (modality LUT) and C.11.2 (VOI LUT).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.core.windowing import LINEAR, Lut, Window
from MedLLMSegLib.io.itk_images import check_file_name

from .frames import Frame, frames_of
from .header import DicomHeader, read_header
from .pixels import check_no_video, modality_values, read_stored
from .place import place_single
from .sort import ImageFile, dicom_files, is_dicom, what_it_is

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
    header = _image_header(path)
    check_no_video(header, path)
    _check_one_frame(header, path)
    if header.number("BitsAllocated") == 1:
        raise UserError(
            f'"{path}" is black and white (1 bit), and grey values are needed; export the image'
            " itself."
        )
    frame = frames_of(ImageFile(path, header))[0]
    stored, notes = read_stored(header, path)
    name = path.stem if path.suffix.lower() in (".dcm", ".ima") else path.name
    return _interpreted(stored, frame, header, name, notes)


def _image_header(path: Path) -> DicomHeader:
    """The tags and undecoded pixels of a file that holds an image. Raises `UserError`."""
    try:
        header = read_header(path, pixels=True)
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise
        header = None
    if header is None or what_it_is(header) or min(header.size) < 1:
        raise UserError(
            f'"{path}" holds no DICOM image that can be read (it may be damaged, or a report or'
            " plan instead of an image); export it again."
        )
    return header


def _check_one_frame(header: DicomHeader, path: Path) -> None:
    if header.frames > 1:
        raise UserError(
            f'"{path}" is a DICOM file of {header.frames} frames (a video or a 3D scan), and one'
            " still image is needed; export the wanted frame as a file of its own."
        )


def _interpreted(
    stored: Array, frame: Frame, header: DicomHeader, name: str, notes: tuple[str, ...]
) -> DicomImage:
    """The image with its tags applied: rescaling, look-up tables, windows and padding."""
    if header.items("ModalityLUTSequence"):
        values = modality_values(stored, header).astype(np.float64)
    else:
        values = stored.astype(np.float64) * frame.slope + frame.intercept
    signed = header.number("PixelRepresentation") == 1 or float(values.min()) < 0
    windows, has_invalid_window = _windows(header)
    if has_invalid_window:
        notes += ("A window in the file's tags is not valid and was left out.",)
    matrix = place_single(frame, f'"{frame.path}"').ijk_to_ras
    return DicomImage(
        volume=Volume(np.ascontiguousarray(values[None], np.float32), matrix, name),
        inverted=header.text("PhotometricInterpretation") == "MONOCHROME1",
        windows=(*windows, *voi_luts(header, signed)),
        view=_view(header),
        modality=header.text("Modality").upper(),
        body_part=header.text("BodyPartExamined").upper(),
        padding=_padding_mask(stored, header),
        notes=notes,
    )


def _padding_mask(stored: Array, header: DicomHeader) -> NDArray[np.bool_] | None:
    """Bool (rows, columns) of pixels without image; None if there are none or nothing else."""
    padding_value = header.stored_value("PixelPaddingValue")
    if padding_value is None:
        return None
    limit = header.stored_value("PixelPaddingRangeLimit")
    low, high = sorted((padding_value, padding_value if limit is None else limit))
    mask: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return mask if mask.any() and not mask.all() else None


def voi_luts(header: DicomHeader, signed: bool) -> tuple[Lut, ...]:
    """The VOI look-up tables that are complete.

    signed: whether the grey values may be negative, which decides how a table's first one is read.
    """
    luts = (_lut(item, signed) for item in header.items("VOILUTSequence"))
    return tuple(lut for lut in luts if lut is not None)


def _lut(item: DicomHeader, signed: bool) -> Lut | None:
    """The table in one item of a sequence; None for one that is incomplete."""
    descriptor = _words(item.value("LUTDescriptor"), 3)
    if len(descriptor) != 3:
        return None
    count, first, bits = (int(number) & 0xFFFF for number in descriptor)
    count = count or 65536  # which does not fit the field
    entries = _words(item.value("LUTData"), count)
    if len(entries) < count or not 1 <= bits <= 16:
        return None
    first = first - 65536 if signed and first >= 32768 else first
    return Lut(first, entries[:count].copy(), bits, item.text("LUTExplanation"))


def _words(value: object, count: int) -> Array:
    """Numbers of 16 bits each, or where there are too few bytes for that of 8."""
    if isinstance(value, bytes):
        is_wide = len(value) >= 2 * count
        return np.frombuffer(value[: len(value) // 2 * 2], "<u2" if is_wide else np.uint8)
    try:
        numbers = np.atleast_1d(np.asarray(value, np.int64)).astype(np.uint16)
    except (TypeError, ValueError, OverflowError):
        return np.empty(0, np.uint16)
    return numbers if len(numbers) >= count else np.frombuffer(numbers.tobytes(), np.uint8)


def _windows(header: DicomHeader) -> tuple[list[Window], bool]:
    """The valid windows of the tags, and whether there is an invalid one."""
    centers, widths = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    names = header.texts("WindowCenterWidthExplanation")
    function = header.text("VOILUTFunction").upper() or LINEAR
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
    position = header.text("ViewPosition").upper()
    if position in ("PA", "AP"):
        return position
    if position in LATERAL:
        return "lateral"
    row_direction = header.text("PatientOrientation").upper().split("\\")[0]
    if row_direction.startswith(("A", "P")):  # rows run to the front or back of the body
        return "lateral"
    description = f"{header.text('SeriesDescription')} {header.text('ProtocolName')}".upper()
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
        return read_header(first).text("Modality").upper()
    except (RuntimeError, OSError, UserError):  # loading the file says what is wrong
        return ""
