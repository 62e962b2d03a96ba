"""One flat DICOM image (a radiograph) as the reader should see it: grey values, windows, view
and modality from its tags.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.core.windowing import LINEAR, Lut, Window
from MedLLMSegLib.io.itk_images import (
    check_file_name,
    image_to_volume,
    itk_warnings_off,
    run_reader,
)
from MedLLMSegLib.io.pictures import grey_image

from .luts import MODALITY, VOI, read_luts, transfer_syntax
from .series import dicom_files, is_dicom

_IO = "GDCMImageIO"
_VIDEO = tuple(b"1.2.840.10008.1.2.4.%d" % n for n in (100, 101, 102, 103, 104, 105, 106, 107, 108))
LATERAL = ("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT")


@dataclass(frozen=True, eq=False)
class DicomImage:
    """volume: [1, rows, columns] of the values after the modality's rescaling or look-up table.

    inverted: the lowest value is white (MONOCHROME1). windows: those of the tags, in order, then
    the VOI look-up tables. view: "PA", "AP", "lateral" or "". modality: such as "CR", "" where the
    file does not say. body_part: likewise. padding: bool [rows, columns] of pixels that hold no
    image, or None. notes: sentences for the user.
    """

    volume: Volume
    inverted: bool
    windows: tuple[Window | Lut, ...]
    view: str
    modality: str
    body_part: str
    padding: np.ndarray | None
    notes: tuple[str, ...]


def read_dicom_image(path) -> DicomImage:
    """Read one DICOM file of one flat image; the other files of its series are left alone.
    Raises `UserError`.
    """
    path = Path(path)
    check_file_name(path)
    _check_no_video(path)
    reader = sitk.ImageFileReader()
    try:
        reader.SetImageIO(_IO)
        reader.SetFileName(str(path))
        with itk_warnings_off():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise UserError(
            f'"{path}" holds no DICOM image that can be read (it may be damaged, or a report or'
            " plan instead of an image); export it again."
        ) from error
    tags = _Tags(reader)
    frames = max(
        int(tags.number("0028|0008", 1)), reader.GetSize()[2] if reader.GetDimension() > 2 else 1
    )
    if frames > 1:
        raise UserError(
            f'"{path}" is a DICOM file of {frames} frames (a video or a 3D scan), and one still'
            " image is needed; export the wanted frame as a file of its own."
        )
    if tags.number("0028|0101", 8) == 1:
        raise UserError(
            f'"{path}" is black and white (1 bit), and grey values are needed; export the image'
            " itself."
        )
    image, notes = grey_image(run_reader(reader, _IO, path, str(path)), str(path))
    volume = image_to_volume(
        image, path.stem if path.suffix.lower() in (".dcm", ".ima") else path.name
    )
    return _understood(volume, tags, path, notes)


def _check_no_video(path: Path) -> None:
    """By its encoding: GDCM reads the header of an MPEG film, and would take its bytes for grey
    values.
    """
    try:
        with open(path, "rb") as file:
            syntax = transfer_syntax(file)
    except OSError as error:
        raise UserError(
            f'"{path}" may not be read ({error.strerror}); check the file and its permissions.'
        ) from error
    except struct.error:  # cut off within its first elements: reading it says so
        return
    if syntax in _VIDEO:
        raise UserError(
            f'"{path}" is a video, and one still image is needed; export the wanted frame as a file'
            " of its own."
        )


def _understood(volume: Volume, tags: _Tags, path: Path, notes: tuple[str, ...]) -> DicomImage:
    slope, intercept = tags.number("0028|1053", 1.0), tags.number("0028|1052", 0.0)
    signed, inverted = tags.number("0028|0103", 0) == 1, tags.text("0028|0004") == "MONOCHROME1"
    values = volume.array.astype(np.float64)
    # GDCM turned the stored values round, before it rescaled them; the window counts in the ones
    # that were
    if inverted:
        highest = -1 if signed else 2 ** int(tags.number("0028|0101", 8)) - 1
        values = highest * slope + 2 * intercept - values
    luts = read_luts(path, signed or float(values.min()) < 0)
    padding = tags.number("0028|0120", None)
    hidden = None if padding is None else values[0] == padding * slope + intercept
    if luts[MODALITY]:
        values = luts[MODALITY][0].entries(values)
    values = np.ascontiguousarray(values, np.float32)
    windows, wrong = _windows(tags)
    if wrong:
        notes += ("A window in the file's tags is not valid and was left out.",)
    return DicomImage(
        Volume(values, volume.ijk_to_ras, volume.name),
        inverted,
        (*windows, *luts[VOI]),
        _view(tags),
        tags.text("0008|0060").upper(),
        tags.text("0018|0015").upper(),
        hidden if hidden is not None and hidden.any() and not hidden.all() else None,
        notes,
    )


def _windows(tags: _Tags) -> tuple[list[Window], bool]:
    """The windows of the tags that can be used, and whether there was another."""
    centers, widths = tags.numbers("0028|1050"), tags.numbers("0028|1051")
    names = [name.strip() for name in tags.text("0028|1055").split("\\")]
    function = tags.text("0028|1056").upper() or LINEAR
    names += [""] * len(centers)
    pairs = list(zip(centers, widths, names))
    good = [
        Window(c, w, function, name) for c, w, name in pairs if np.isfinite((c, w)).all() and w > 0
    ]
    return good, len(good) < max(len(centers), len(widths))


def _view(tags: _Tags) -> str:
    """How the X-rays went, if one of the tags says so: the view's, the directions of rows, the
    description's.
    """
    position = tags.text("0018|5101").upper()
    if position in ("PA", "AP"):
        return position
    if position in LATERAL:
        return "lateral"
    first = tags.text("0020|0020").upper().split("\\")[0]
    words = set(re.findall(r"[A-Z]+", f"{tags.text('0008|103e')} {tags.text('0018|1030')}".upper()))
    if first[:1] in ("A", "P") or (
        not first and words & set(LATERAL)
    ):  # rows that run to the front or back of the body
        return "lateral"
    return (
        next((view for view in ("PA", "AP") if view in words), "")
        if len(words & {"PA", "AP"}) == 1
        else ""
    )


class _Tags:
    """The header's fields as text and numbers; one that is missing or no number is no error."""

    def __init__(self, reader: sitk.ImageFileReader):
        self.reader = reader

    def text(self, key: str) -> str:
        found = self.reader.GetMetaData(key) if self.reader.HasMetaDataKey(key) else ""
        return found.encode("utf-8", "replace").decode().strip("\0 ")

    def numbers(self, key: str) -> list[float]:
        try:
            return [float(part) for part in self.text(key).split("\\")]
        except ValueError:
            return []

    def number(self, key: str, default):
        found = self.numbers(key)
        return found[0] if found and np.isfinite(found[0]) else default


def dicom_modality(path) -> str:
    """DICOM's code of what made an image (such as "CT") from a file, or the first in a folder;
    "" for anything else.
    """
    path = Path(path)
    try:
        first = (
            next(iter(dicom_files(path)), None)
            if path.is_dir()
            else path
            if is_dicom(path)
            else None
        )
        if first is None:
            return ""
        check_file_name(first)
        reader = sitk.ImageFileReader()
        reader.SetImageIO(_IO)
        reader.SetFileName(str(first))
        with itk_warnings_off():
            reader.ReadImageInformation()
        return _Tags(reader).text("0008|0060").upper()
    except (RuntimeError, OSError, UserError):  # loading it says what is wrong
        return ""
