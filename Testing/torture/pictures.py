"""Damaged pictures: PNG, JPEG and TIFF."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache, partial
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from MedLLMSegLib.io.radiograph import load_radiograph

from .kind import Kind
from .mutations import any_bytes, splice

_GREY = (np.arange(48 * 40).reshape(48, 40) % 251).astype(np.uint8)
_CHUNK_TYPES = (b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"sBIT", b"gAMA", b"iCCP", b"zTXt", b"IEND")
_MARKERS = (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xFE)


@cache
def seeds(file_format: str) -> tuple[bytes, ...]:
    """Pictures of one format, grey and not, of 1 to 16 bits."""
    images = [Image.fromarray(_GREY), Image.fromarray(_GREY).convert("RGB")]
    if file_format != "JPEG":
        images += [
            Image.fromarray(_GREY.astype(np.uint16) * 200),
            Image.fromarray(_GREY).convert("P"),
            Image.fromarray(_GREY).convert("LA"),
            Image.fromarray(_GREY).convert("1"),
        ]
    options: list[dict[str, object]] = [{}]
    if file_format == "JPEG":
        options += [{"progressive": True}, {"quality": 20, "optimize": True}]
    if file_format == "TIFF":
        options += [{"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}]
    written = []
    for image in images:
        for more in options:
            out = io.BytesIO()
            image.save(out, file_format, **more)
            written.append(out.getvalue())
    return tuple(written)


def _png_chunks(rng: Random, data: bytes) -> bytes:
    """Chunks of a PNG lost, doubled, exchanged or changed, each with its right checksum."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    n, m = rng.randrange(len(chunks)), rng.randrange(len(chunks))
    name, body = chunks[n]
    deed = rng.randrange(6)
    if deed == 0:
        del chunks[n]
    elif deed == 1:
        chunks.insert(m, chunks[n])
    elif deed == 2:
        chunks[n], chunks[m] = chunks[m], chunks[n]
    elif deed == 3:
        chunks[n] = rng.choice(_CHUNK_TYPES), body
    elif deed == 4 and name == b"IDAT":
        chunks[n] = name, zlib.compress(any_bytes(rng, zlib.decompress(body)))
    else:
        chunks[n] = name, any_bytes(rng, body)
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _jpeg_segments(rng: Random, data: bytes) -> bytes:
    """A segment of a JPEG with another marker, length or content."""
    marks = [n for n in range(2, len(data) - 4) if data[n] == 0xFF and data[n + 1] in _MARKERS]
    if not marks:
        return any_bytes(rng, data)
    damaged, n = bytearray(data), rng.choice(marks)
    deed = rng.randrange(3)
    if deed == 0:
        damaged[n + 1] = rng.choice(_MARKERS)
    elif deed == 1:
        damaged[n + 2 : n + 4] = struct.pack(">H", rng.choice((0, 1, 2, 3, 9, 255, 65535)))
    else:
        place = n + 4 + rng.randrange(12)
        damaged[place : place + 2] = struct.pack(">H", rng.choice((0, 1, 7, 255, 30000, 65535)))
    return bytes(damaged)


def _tiff_entries(rng: Random, data: bytes) -> bytes:
    """An entry of a TIFF's directory with an extreme type, count or value."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    damaged, entry = bytearray(data), start + 2 + 12 * rng.randrange(count)
    offset, form = rng.choice(((-2, "H"), (0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "H")))
    place = start if offset == -2 else entry + offset
    value = rng.choice((0, 1, 2, 3, 5, 8, 16, 32, 65535, 30000, 2**31, 2**32 - 1))
    struct.pack_into(order + form, damaged, place, value % (65536 if form == "H" else 2**32))
    return bytes(damaged)


_FORMATS = {
    "png": ("PNG", (".png",), _png_chunks),
    "jpeg": ("JPEG", (".jpg", ".jpeg"), _jpeg_segments),
    "tiff": ("TIFF", (".tif", ".tiff"), _tiff_entries),
}


def _write(kind: str, rng: Random, folder: Path) -> Path:
    file_format, suffixes, own_damage = _FORMATS[kind]
    data = rng.choice(seeds(file_format))
    deed = rng.random()
    if deed < 0.5:
        data = own_damage(rng, data)
    elif deed < 0.95:
        data = any_bytes(rng, data)
    else:
        data = splice(rng, data, rng.choice(seeds(file_format)))
    path = folder / f"a{rng.choice(suffixes)}"
    path.write_bytes(data)
    return path


KINDS = tuple(Kind(name, partial(_write, name), load_radiograph) for name in _FORMATS)
