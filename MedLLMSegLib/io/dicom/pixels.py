"""The grey values of DICOM frames, decoded by pydicom.

Source: DICOM PS3.3, C.11.1 (modality LUT), and PS3.5, 8 and A.4 (encodings of pixels).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.native_output import native_errors_logged
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.io.pictures import GREY_NEEDED, MAX_GREY_DIFFERENCE, STORED_IN_COLOUR

from .frames import Frame
from .header import DicomHeader, damaged, no_warnings, read_header

# Integers that hold the values of a volume, the first that fits after the stored kind
_INTEGERS = (np.int16, np.uint16, np.int32, np.uint32, np.int64)
_LARGEST_SLOPE = 2**24  # of which the product with 32 bits is a whole number of 64 bits
# Transfer syntaxes of MPEG-2, MPEG-4 and HEVC videos
_VIDEOS = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 109))
_DEFAULTS = {"SamplesPerPixel": 1, "PixelRepresentation": 0}
# The decoders of each encoding that survive damaged data, the best first. (GDCM ends the process on
# damaged JPEG-LS, and pylibjpeg raises a panic on RLE.)
_DECODERS = {
    "1.2.840.10008.1.2.5": ("pydicom",),  # RLE
    "1.2.840.10008.1.2.4.50": ("pillow", "gdcm"),  # JPEG baseline
    "1.2.840.10008.1.2.4.51": ("pillow", "gdcm"),
    "1.2.840.10008.1.2.4.57": ("gdcm", "pylibjpeg"),  # JPEG lossless
    "1.2.840.10008.1.2.4.70": ("gdcm", "pylibjpeg"),
    "1.2.840.10008.1.2.4.80": ("pyjpegls",),  # JPEG-LS
    "1.2.840.10008.1.2.4.81": ("pyjpegls",),
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "pillow"),  # JPEG 2000
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "pillow"),
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),  # high-throughput JPEG 2000
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),
}
_EXTENDED_JPEG = "1.2.840.10008.1.2.4.51"
_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2"))


@dataclass(frozen=True, eq=False)
class GreyFrames:
    """array: [k, rows, columns] in the order asked for. notes: sentences for the user."""

    array: Array
    notes: tuple[str, ...]


def read_values(frames: Sequence[Frame]) -> GreyFrames:
    """The real values of frames: after the modality's look-up table, or slope and intercept.

    Integers stay exact: the result is floating point only where a slope or intercept has decimals.
    Raises `UserError` for a file that is damaged, in colour, or compressed in an unknown way.
    """
    stored: list[Array] = [np.empty(0)] * len(frames)
    notes: tuple[str, ...] = ()
    for path, places in _places_by_file(frames).items():
        header = read_header(path, pixels=True)
        arrays, file_notes = _grey_frames(header, path, [frames[n].index for n in places])
        notes = tuple(dict.fromkeys((*notes, *file_notes)))
        has_table = bool(header.items("ModalityLUTSequence"))
        for place, array in zip(places, arrays, strict=True):
            stored[place] = modality_values(array, header) if has_table else array
        if has_table:
            frames = [_without_slope(frame) if frame.path == path else frame for frame in frames]
    return GreyFrames(_rescaled(stored, frames), notes)


def _places_by_file(frames: Sequence[Frame]) -> dict[Path, list[int]]:
    places: dict[Path, list[int]] = {}
    for n, frame in enumerate(frames):
        places.setdefault(frame.path, []).append(n)
    return places


def _without_slope(frame: Frame) -> Frame:
    return replace(frame, slope=1.0, intercept=0.0)


def modality_values(array: Array, header: DicomHeader) -> Array:
    """Stored values through the file's modality look-up table."""
    from pydicom.pixels.processing import apply_modality_lut

    with no_warnings():
        try:
            values: Array = np.asarray(apply_modality_lut(array, header.dataset))
        except Exception:  # an incomplete table is left out, as viewers do
            return array
    return values


def check_no_video(header: DicomHeader, path: Path) -> None:
    """Raise `UserError` for a video, which is known by its encoding."""
    if header.transfer_syntax in _VIDEOS:
        raise UserError(
            f'"{path}" is a video, and one still image is needed; export the wanted frame as a file'
            " of its own."
        )


def read_stored(header: DicomHeader, path: Path) -> tuple[Array, tuple[str, ...]]:
    """The stored grey values [rows, columns] of the first frame, and notes for the user.

    header: with its pixels. Raises `UserError`.
    """
    arrays, notes = _grey_frames(header, path, [0])
    return arrays[0], notes


def _grey_frames(
    header: DicomHeader, path: Path, indices: list[int]
) -> tuple[list[Array], tuple[str, ...]]:
    """The stored values of some frames of one file, in grey."""
    check_no_video(header, path)
    with no_warnings():
        try:
            _complete(header)
        except Exception as error:  # an element that cannot be replaced, as its bytes are damaged
            raise damaged(path) from error
    arrays = _decoded(header, path, indices)
    if header.text("PhotometricInterpretation") == "PALETTE COLOR":
        arrays = [_in_colours(array, header, path) for array in arrays]
    columns, rows = header.size
    if any(array.shape[:2] != (rows, columns) for array in arrays):
        raise damaged(path)
    if arrays[0].ndim == 2:
        return arrays, ()
    return [_grey(array, path) for array in arrays], (STORED_IN_COLOUR,)


def _complete(header: DicomHeader) -> None:
    """Fill in what older files leave out, with what readers take it for."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    dataset = header.dataset
    for keyword, value in _DEFAULTS.items():
        if header.number(keyword) is None:
            setattr(dataset, keyword, value)
    if header.number("BitsStored") is None and header.number("BitsAllocated") is not None:
        dataset.BitsStored = dataset.BitsAllocated
    if not header.text("PhotometricInterpretation"):
        dataset.PhotometricInterpretation = "MONOCHROME2"
    if not header.transfer_syntax:
        if not isinstance(getattr(dataset, "file_meta", None), FileMetaDataset):
            dataset.file_meta = FileMetaDataset()
        implicit, little = dataset.original_encoding
        explicit_kind = _EXPLICIT if little else _BIG_ENDIAN
        dataset.file_meta.TransferSyntaxUID = UID(_IMPLICIT if implicit else explicit_kind)


def _decoded(header: DicomHeader, path: Path, indices: list[int]) -> list[Array]:
    """Frames as pydicom decodes them: [rows, columns], or [rows, columns, 3] in RGB."""
    from pydicom.pixels.utils import iter_pixels

    _silence_gdcm()
    try:
        plugin = _decoder(header, path)
        with no_warnings(), native_errors_logged():
            wanted = indices if header.frames > 1 else None
            arrays = iter_pixels(header.dataset, indices=wanted, decoding_plugin=plugin)
            decoded = [np.array(array) for array in arrays]
    except UserError:
        raise
    except NotImplementedError as error:
        raise _unknown_encoding(header, path) from error
    except Exception as error:  # damaged files raise many kinds of errors
        raise damaged(path) from error
    if len(decoded) != len(indices):
        raise damaged(path)
    return decoded


def _decoder(header: DicomHeader, path: Path) -> str:
    """The plugin of pydicom that decodes a file's pixels; "" where none is needed."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    plugins = _DECODERS.get(header.transfer_syntax)
    if plugins is None:
        return ""
    if header.transfer_syntax == _EXTENDED_JPEG and (header.number("BitsStored") or 0) > 8:
        raise _unknown_encoding(header, path)
    available = get_decoder(UID(header.transfer_syntax)).available_plugins
    for plugin in plugins:
        if plugin in available:
            return plugin
    raise _unknown_encoding(header, path)


def _silence_gdcm() -> None:
    """GDCM, one of pydicom's decoders, prints what it finds odd."""
    try:
        import gdcm
    except ImportError:
        return
    gdcm.Trace.DebugOff()
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()


def _unknown_encoding(header: DicomHeader, path: Path) -> UserError:
    from pydicom.uid import UID

    with no_warnings():
        name = UID(header.transfer_syntax).name
    return UserError(
        f'"{path}" is compressed as {name}, for which this Python ({sys.executable}) has no'
        " decoder; install python-gdcm, pyjpegls and pylibjpeg-openjpeg into it, or decompress the"
        " files."
    )


def _in_colours(array: Array, header: DicomHeader, path: Path) -> Array:
    from pydicom.pixels.processing import apply_color_lut

    try:
        colours: Array = np.asarray(apply_color_lut(array, header.dataset))
    except Exception as error:  # a palette that does not fit
        raise damaged(path) from error
    return colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8)


def _grey(array: Array, path: Path) -> Array:
    """The grey values [rows, columns] of an image in colours that are all grey."""
    colours = array[..., :3].astype(np.int32)
    if (colours.max(-1) - colours.min(-1)).max() > MAX_GREY_DIFFERENCE:
        raise UserError(
            f'"{path}" is a colour image, and {GREY_NEEDED}; a photograph or screenshot will not'
            " do, export the scan itself."
        )
    green: Array = np.ascontiguousarray(array[..., 1])
    return green


def _rescaled(stored: list[Array], frames: Sequence[Frame]) -> Array:
    """[k, rows, columns]: stored values * slope + intercept, each frame with its own."""
    numbers = {number for frame in frames for number in (frame.slope, frame.intercept)}
    if any(array.dtype.kind == "f" for array in stored):
        kind = np.result_type(*(array.dtype for array in stored))
    elif all(abs(number) < _LARGEST_SLOPE and float(number).is_integer() for number in numbers):
        kind = _integer_kind(stored, frames)
    else:  # float32 holds every integer of 16 bits
        kind = np.dtype(
            np.float64 if any(array.dtype.itemsize > 2 for array in stored) else np.float32
        )
    values = np.empty((len(stored), *stored[0].shape), kind)
    for n, (array, frame) in enumerate(zip(stored, frames, strict=True)):
        if kind.kind in "iu":
            exact = array.astype(np.int64) * int(frame.slope) + int(frame.intercept)
            values[n] = exact.astype(kind)
        else:
            values[n] = array.astype(np.float64) * frame.slope + frame.intercept
    return values


def _integer_kind(stored: list[Array], frames: Sequence[Frame]) -> np.dtype[np.integer]:
    """The stored kind, or the first other that holds every value."""
    lowest, highest = 0, 0
    for array, frame in zip(stored, frames, strict=True):
        for end in (int(array.min()), int(array.max())):
            value = end * int(frame.slope) + int(frame.intercept)
            lowest, highest = min(lowest, value), max(highest, value)
    for kind in (np.result_type(*(a.dtype for a in stored)), *map(np.dtype, _INTEGERS)):
        if kind.kind in "iu" and np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max:
            return kind
    return np.dtype(np.int64)
