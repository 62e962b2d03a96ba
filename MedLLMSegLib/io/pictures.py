"""Flat grey images from PNG, JPEG and TIFF files, with 8 or 16 bits per pixel."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.display_orientation import AS_STORED, DisplayOrientation
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.core.volume import Volume

from .file_errors import unreadable, wrong_content
from .itk_images import Format, check_file_name, image_to_volume, run_reader
from .picture_headers import (
    TIFF_BITS,
    TIFF_PHOTOMETRIC,
    TURNED_BY_FILE,
    WHITE_IS_ZERO,
    as_stored_tiff,
    jpeg_must_be_whole,
    jpeg_orientation,
    orientation_of,
    read_png,
    tiff_numbers,
)

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
# PNG's colour type that ITK cannot read
_PNG_GREY_WITH_ALPHA = b"\x04"


@dataclass(frozen=True, eq=False)
class Picture:
    """A grey picture as it was read.

    volume: [1, rows, columns] of uint8 or uint16. white_is_zero: whether 0 is white, not black.
    notes: sentences for the user. orientation: from the stored pixels to how the image is seen.
    """

    volume: Volume
    white_is_zero: bool
    notes: tuple[str, ...]
    orientation: DisplayOrientation = AS_STORED


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
    image, orientation, white_is_zero = _read(path, file_format)
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
    turned = () if orientation == AS_STORED else (TURNED_BY_FILE,)
    volume = image_to_volume(image, path.stem)
    return Picture(volume, white_is_zero, (*notes, *turned), orientation)


def _read(path: Path, file_format: Format) -> tuple[sitk.Image, DisplayOrientation, bool]:
    """The pixels as stored, how they are shown, and whether 0 is white."""
    if file_format is _PNG:
        png = read_png(path)
        if png.has_transparency:
            raise _transparent(str(path))
        return _decoded(png.plain, path, file_format), png.orientation, False
    if file_format is _JPEG:
        with jpeg_must_be_whole(path):
            image = run_reader(sitk.ImageFileReader(), _JPEG.image_io, path, str(path))
        return image, jpeg_orientation(path), False
    content = path.read_bytes()
    numbers = tiff_numbers(content)
    image = _decoded(as_stored_tiff(content), path, file_format)
    if numbers.get(TIFF_BITS, 8) > 8 and "8-bit" in image.GetPixelIDTypeAsString():
        raise UserError(
            f'"{path}" is a TIFF file of a kind that can be read here with a loss of grey values'
            " only; save it as a 16 bit PNG."
        )
    return image, orientation_of(numbers), numbers.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO


def _decoded(content: bytes, path: Path, file_format: Format) -> sitk.Image:
    """The pixels of a file's content that was made simpler for ITK. path: the file's own."""
    with tempfile.TemporaryDirectory() as folder:
        simple = Path(folder) / f"simple{path.suffix.lower()}"
        simple.write_bytes(content)
        return run_reader(sitk.ImageFileReader(), file_format.image_io, path, str(simple))


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
