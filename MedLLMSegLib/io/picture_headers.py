"""What PNG, JPEG and TIFF files say beside their pixels, and whether they are whole.

ITK passes over the orientation that cameras and scanners' programs write (EXIF), divides values by
what PNG calls significant bits, and takes a JPEG with a hole for a whole one.
Sources: PNG, third edition (W3C), chapters 5 and 11; Exif 2.32, 4.6.4; TIFF 6.0, sections 2 and 8.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.display_orientation import AS_STORED, DisplayOrientation
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.printed_text import printed_text

TURNED_BY_FILE = "The file says how its pixels are turned (EXIF); the image was turned accordingly."
# EXIF's values of the orientation: transposed, flip_rows, flip_columns
_ORIENTATIONS = {
    2: DisplayOrientation(False, False, True),
    3: DisplayOrientation(False, True, True),
    4: DisplayOrientation(False, True, False),
    5: DisplayOrientation(True, False, False),
    6: DisplayOrientation(True, False, True),
    7: DisplayOrientation(True, True, True),
    8: DisplayOrientation(True, True, False),
}
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_ORIENTATION = 258, 262, 274
WHITE_IS_ZERO = 0
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_JPEG_EXIF, _JPEG_IMAGE_DATA, _JPEG_END = 0xE1, 0xDA, 0xD9
_JPEG_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG")


@dataclass(frozen=True)
class PngContent:
    """plain: the file with the chunks alone that make the pixels. has_transparency: whether some
    pixels may be transparent. orientation: of its EXIF chunk.
    """

    plain: bytes
    has_transparency: bool
    orientation: DisplayOrientation


def read_png(path: Path) -> PngContent:
    """The chunks of a PNG file. Raises `UserError` if one that is needed is damaged or missing."""
    kept, transparency, exif = [_PNG_START], b"\xff", b""
    palette = last = b""
    for kind, content, whole in _png_chunks(path.read_bytes()[len(_PNG_START) :]):
        last = kind
        if kind in _PNG_NEEDED:
            if not whole:
                raise damaged_picture(path)
            kept.append(_png_chunk(kind, content))
            palette = content if kind == b"PLTE" else palette
        elif kind == b"tRNS":
            transparency = content
        elif kind == b"eXIf":
            exif = content
        elif kind == b"acTL":
            raise UserError(
                f'"{path}" holds several images (an animation), and one is needed; save the wanted'
                " one as a file of its own."
            )
    if last != b"IEND":
        raise damaged_picture(path)
    # In a palette, each entry has an opacity; elsewhere the chunk names one transparent value.
    has_transparency = set(transparency) != {255} if palette or transparency == b"\xff" else True
    return PngContent(b"".join(kept), has_transparency, exif_orientation(exif))


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind and content of each chunk, and whether it matches its checksum; the last one is IEND."""
    place, kind = 0, b""
    while place + 12 <= len(content) and kind != b"IEND":
        (length,) = struct.unpack_from(">I", content, place)
        kind = content[place + 4 : place + 8]
        end = place + 8 + length
        checksum = content[end : end + 4]
        whole = checksum == zlib.crc32(content[place + 4 : end]).to_bytes(4, "big")
        yield kind, content[place + 8 : end], whole
        place = end + 4


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def jpeg_orientation(path: Path) -> DisplayOrientation:
    """The orientation in a JPEG file's EXIF segment."""
    content = path.read_bytes()
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in (_JPEG_IMAGE_DATA, _JPEG_END):
            break
        (length,) = struct.unpack_from(">H", content, place + 2)
        segment = content[place + 4 : place + 2 + length]
        if marker == _JPEG_EXIF and segment.startswith(b"Exif\0\0"):
            return exif_orientation(segment[6:])
        place += 2 + max(length, 2)
    return AS_STORED


def exif_orientation(exif: bytes) -> DisplayOrientation:
    """The orientation in EXIF data, which are a TIFF directory."""
    return orientation_of(tiff_numbers(exif))


def orientation_of(numbers: Mapping[int, int]) -> DisplayOrientation:
    """The orientation that a TIFF directory states."""
    return _ORIENTATIONS.get(numbers.get(TIFF_ORIENTATION, 1), AS_STORED)


def tiff_numbers(content: bytes) -> dict[int, int]:
    """Tag -> its first number, of the short ones in the first directory of TIFF data."""
    order = "<" if content[:2] == b"II" else ">"
    numbers = {}
    with suppress(struct.error):  # cut short: the error comes when the pixels are read
        (start,) = struct.unpack_from(order + "I", content, 4)
        (count,) = struct.unpack_from(order + "H", content, start)
        for n in range(count):
            tag, kind, _, number = struct.unpack_from(order + "HHIH", content, start + 2 + 12 * n)
            if kind == 3:
                numbers[tag] = number
    return numbers


def as_stored_tiff(content: bytes) -> bytes:
    """TIFF data that state no orientation, as ITK reads others in 8 bits alone."""
    order = "<" if content[:2] == b"II" else ">"
    changed = bytearray(content)
    with suppress(struct.error):
        (start,) = struct.unpack_from(order + "I", content, 4)
        (count,) = struct.unpack_from(order + "H", content, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack_from(order + "H", content, place)[0] == TIFF_ORIENTATION:
                struct.pack_into(order + "H", changed, place + 8, 1)
    return bytes(changed)


def damaged_picture(path: Path) -> UserError:
    """The error for a picture of which a part is missing."""
    return UserError(
        f'"{path}" is cut short or has a hole, so that a part of the image is missing; copy or'
        " export it again."
    )


@contextmanager
def jpeg_must_be_whole(path: Path) -> Iterator[None]:
    """Raise `UserError` if libjpeg complains of the data while a file is read.

    It fills holes with grey, and says so only in what it prints.
    """
    with printed_text() as text:
        yield
    if any(words in text() for words in _JPEG_DAMAGE):
        raise damaged_picture(path)
