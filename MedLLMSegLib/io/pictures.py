"""Flat grey images from PNG, JPEG and TIFF files, with 8 or 16 bits per pixel."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.core.volume import Volume

from .file_errors import unreadable, wrong_content
from .itk_images import Format, check_file_name, image_to_volume, run_reader

_PNG = Format("PNG", "PNGImageIO", b"\x89PNG\r\n")
_JPEG = Format("JPEG", "JPEGImageIO", b"\xff\xd8\xff")
_TIFF = Format("TIFF", "TIFFImageIO", b"")
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
PICTURE_FORMATS = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
}
VIDEO_SUFFIXES = (
    ".mp4",
    ".m4v",
    ".avi",
    ".mov",
    ".mkv",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".webm",
    ".gif",
)
GREY_NEEDED = "an 8 or 16 bit grey image is needed"
# Red, green and blue of a grey picture that was saved in colour differ by no more than this.
MAX_GREY_DIFFERENCE = 2
STORED_IN_COLOUR = "The image is stored in colour, but is grey; it was read as grey."
# PNG's colour types and TIFF's tag and value that matter here
_PNG_GREY_WITH_ALPHA = b"\x04"
_TIFF_PHOTOMETRIC, _TIFF_WHITE_IS_ZERO = 262, 0


@dataclass(frozen=True, eq=False)
class Picture:
    """A grey picture as it was read.

    volume: [1, rows, columns] of uint8 or uint16. white_is_zero: whether 0 is white, not black.
    notes: sentences for the user.
    """

    volume: Volume
    white_is_zero: bool
    notes: tuple[str, ...]


def is_picture(path: PathLike) -> bool:
    """Whether a name ends like a picture's or video's, which `read_picture` reads or refuses."""
    return Path(path).suffix.lower() in (*PICTURE_FORMATS, *VIDEO_SUFFIXES)


def read_picture(path: PathLike) -> Picture:
    """Read a picture. Raises `UserError` for anything but one grey image."""
    path = Path(path)
    check_file_name(path)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise UserError(
            f'"{path}" is a video or animation, and one still image is needed; save the wanted'
            " image as PNG."
        )
    file_format = PICTURE_FORMATS[path.suffix.lower()]
    try:
        with open(path, "rb") as file:
            head = file.read(32)
    except OSError as error:
        raise unreadable(path, error) from error
    _check_head(path, file_format, head)
    image = run_reader(sitk.ImageFileReader(), file_format.image_io, path, str(path))
    if image.GetDimension() > 2 and image.GetSize()[2] > 1:
        raise UserError(
            f'"{path}" holds {image.GetSize()[2]} images (pages or frames), and one is needed; '
            "save the wanted one as a file of its own."
        )
    image, notes = grey_image(image, str(path))
    if image.GetPixelID() not in (sitk.sitkUInt8, sitk.sitkUInt16):
        raise UserError(
            f'"{path}" holds values of {image.GetPixelIDTypeAsString()}, and {GREY_NEEDED}; save it'
            " as a 16 bit PNG, or keep the values in an NRRD or NIfTI volume of one slice."
        )
    white_is_zero = file_format is _TIFF and _tiff_white_is_zero(path)
    return Picture(image_to_volume(image, path.stem), white_is_zero, notes)


def grey_image(image: sitk.Image, name: str) -> tuple[sitk.Image, tuple[str, ...]]:
    """A grey image as it is, or the grey values of one stored in colour, with notes for the user.

    Raises `UserError` for an image of true colours or with transparent parts.
    """
    components = image.GetNumberOfComponentsPerPixel()
    if components == 1:
        return image, ()
    array = sitk.GetArrayViewFromImage(image)
    colours = array[..., : min(components, 3)]
    if components not in (3, 4) or (colours.max(-1) - colours.min(-1)).max() > MAX_GREY_DIFFERENCE:
        raise UserError(
            f'"{name}" is a colour image, and {GREY_NEEDED}; a photograph or screenshot of an X-ray'
            " will not do, export the X-ray itself."
        )
    if components == 4 and array[..., 3].min() < array[..., 3].max():
        raise _transparent(name)
    green = np.ascontiguousarray(array[..., 1])
    grey = sitk.GetImageFromArray(green)
    grey.CopyInformation(image)
    return grey, (STORED_IN_COLOUR,)


def _transparent(name: str) -> UserError:
    return UserError(
        f'"{name}" has transparent parts, and {GREY_NEEDED}; save it without transparency.'
    )


def _check_head(path: Path, file_format: Format, head: bytes) -> None:
    """Raise `UserError` if a file's first bytes show that it cannot be read as a grey image."""
    if not head:
        raise UserError(f'"{path}" is empty (0 bytes); copy or export it again.')
    signatures = _TIFF_SIGNATURES if file_format is _TIFF else (file_format.signature,)
    if not head.startswith(signatures):
        raise wrong_content(path, file_format.name)
    if file_format is not _PNG:
        return
    bit_depth, colour_type = head[24:25], head[25:26]
    if colour_type == _PNG_GREY_WITH_ALPHA:  # ITK cannot read it
        raise _transparent(str(path))
    if bit_depth == b"\x01":
        raise UserError(
            f'"{path}" is black and white (1 bit), and {GREY_NEEDED}; export the X-ray with its'
            " grey values."
        )


def _tiff_white_is_zero(path: Path) -> bool:
    """Whether a TIFF file's first page says that 0 is white (PhotometricInterpretation).

    ITK ignores that.
    """
    with open(path, "rb") as file:
        order = "<" if file.read(4)[:2] == b"II" else ">"
        (directory_start,) = struct.unpack(order + "I", file.read(4))
        file.seek(directory_start)
        (count,) = struct.unpack(order + "H", file.read(2))
        entries = [struct.unpack(order + "HHIHH", file.read(12)) for _ in range(count)]
    return any(
        tag == _TIFF_PHOTOMETRIC and value == _TIFF_WHITE_IS_ZERO for tag, _, _, value, _ in entries
    )
