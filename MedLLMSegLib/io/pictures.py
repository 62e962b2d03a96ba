"""Flat grey images from PNG, JPEG and TIFF files: 8 or 16 bit, nothing else."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume

from .itk_images import Format, check_file_name, image_to_volume, run_reader

_JPEG, _TIFF = Format("JPEG", "JPEGImageIO", b"\xff\xd8\xff"), Format("TIFF", "TIFFImageIO", b"")
PICTURES = {
    ".png": Format("PNG", "PNGImageIO", b"\x89PNG\r\n"),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
}
VIDEOS = (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".mpg", ".mpeg", ".wmv", ".webm", ".gif")
GREY = "an 8 or 16 bit grey image is needed"
SAME_GREY = (
    2  # red, green and blue of a grey picture that was saved as a colour one differ by no more
)
STORED_IN_COLOUR = "The image is stored in colour, but is grey; it was read as grey."


def is_picture(path) -> bool:
    """Whether a name ends like a picture's or video's, which `read_picture` reads or refuses."""
    return Path(path).suffix.lower() in (*PICTURES, *VIDEOS)


def read_picture(path) -> tuple[Volume, bool, tuple[str, ...]]:
    """(volume [1, rows, columns] of uint8 or uint16, whether 0 is white, notes). Raises
    `UserError`.
    """
    path = Path(path)
    check_file_name(path)
    if path.suffix.lower() in VIDEOS:
        raise UserError(
            f'"{path}" is a video or animation, and one still image is needed; save the wanted'
            " image as PNG."
        )
    file_format = PICTURES[path.suffix.lower()]
    try:
        with open(path, "rb") as file:
            head = file.read(32)
    except OSError as error:
        raise UserError(
            f'"{path}" may not be read ({error.strerror}); check the file and its permissions.'
        ) from error
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
            f'"{path}" holds values of {image.GetPixelIDTypeAsString()}, and {GREY}; save it as a'
            " 16 bit PNG, or keep the values in an NRRD or NIfTI volume of one slice."
        )
    return image_to_volume(image, path.stem), file_format is _TIFF and _white_is_zero(path), notes


def grey_image(image: sitk.Image, name: str) -> tuple[sitk.Image, tuple[str, ...]]:
    """The image, or the grey one that a colour image stands for, with a note; `UserError` for
    true colours.
    """
    count = image.GetNumberOfComponentsPerPixel()
    if count == 1:
        return image, ()
    array = sitk.GetArrayViewFromImage(image)
    low, high = array[..., : min(count, 3)].min(-1), array[..., : min(count, 3)].max(-1)
    if count not in (3, 4) or (high - low).max() > SAME_GREY:
        raise UserError(
            f'"{name}" is a colour image, and {GREY}; a photograph or screenshot of an X-ray will'
            " not do, export the X-ray itself."
        )
    if count == 4 and array[..., 3].min() < array[..., 3].max():
        raise UserError(
            f'"{name}" has transparent parts, and {GREY}; save it without transparency.'
        )
    grey = sitk.GetImageFromArray(np.ascontiguousarray(array[..., 1]))
    grey.CopyInformation(image)
    return grey, (STORED_IN_COLOUR,)


def _check_head(path: Path, file_format: Format, head: bytes) -> None:
    if not head:
        raise UserError(f'"{path}" is empty (0 bytes); copy or export it again.')
    good = (
        head[:4] in (b"II*\0", b"MM\0*")
        if file_format is _TIFF
        else head.startswith(file_format.signature)
    )
    if not good:
        raise UserError(
            f'"{path}" is named like a {file_format.name} file, but its content is something else or'
            " damaged; check that it is the right file, or export it again."
        )
    if (
        file_format.name == "PNG" and head[25:26] == b"\x04"
    ):  # grey with transparency, which ITK cannot read
        raise UserError(
            f'"{path}" has transparent parts, and {GREY}; save it without transparency.'
        )
    if file_format.name == "PNG" and head[24:25] == b"\x01":
        raise UserError(
            f'"{path}" is black and white (1 bit), and {GREY}; export the X-ray with its grey'
            " values."
        )


def _white_is_zero(path: Path) -> bool:
    """Whether a TIFF file's first page says that 0 is white (tag 262,
    PhotometricInterpretation), which ITK does not heed.
    """
    with open(path, "rb") as file:
        order = "<" if file.read(4)[:2] == b"II" else ">"
        file.seek(struct.unpack(order + "I", file.read(4))[0])
        (count,) = struct.unpack(order + "H", file.read(2))
        entries = [struct.unpack(order + "HHIHH", file.read(12)) for _ in range(count)]
    return any(tag == 262 and value == 0 for tag, _, _, value, _ in entries)
