"""Files that may be compressed, as blocks of plain bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from .file_errors import damaged_packing

GZIP_SIGNATURE = b"\x1f\x8b"
MAX_RATIO = 1040  # deflate packs at most 1032 bytes into one
_BLOCK_BYTES = 1 << 20
_GZIP_WINDOW = 31  # zlib's code for "with gzip's head and checksum"


def is_gzip(path: Path) -> bool:
    """Whether a file's first bytes are gzip's, whatever its name says."""
    with open(path, "rb") as file:
        return file.read(2) == GZIP_SIGNATURE


def most_plain_bytes(path: Path) -> int:
    """How many bytes a file can hold at most once it is unpacked."""
    size = path.stat().st_size
    return size * MAX_RATIO if is_gzip(path) else size


def plain_blocks(path: Path, start: int = 0) -> Iterator[bytes]:
    """The contents of a file from a byte on, unpacked if they are gzip, in blocks of 1 MiB at most.

    As gzip itself does, this reads several packed parts as one file, and passes over what is no
    gzip behind the last one. Raises `UserError` if the data end too early or do not match their
    checksum, and OSError.
    """
    with open(path, "rb") as file:
        file.seek(start)
        first = file.read(2)
        file.seek(start)
        blocks = iter(lambda: file.read(_BLOCK_BYTES), b"")
        if first == GZIP_SIGNATURE:
            blocks = unzipped(blocks, path, _GZIP_WINDOW)
        yield from blocks


def unzipped(blocks: Iterator[bytes], path: Path, window: int) -> Iterator[bytes]:
    """Unpack blocks of gzip or zlib data.

    window: zlib's code for the kind, 31 for gzip and 15 for zlib. Raises `UserError` that names the
    path.
    """
    unpacker = zlib.decompressobj(window)
    waiting = b""
    more_inside = False
    try:
        while True:
            if not waiting and not more_inside:
                waiting = next(blocks, b"")
                if not waiting:
                    raise damaged_packing(path)
            plain = unpacker.decompress(waiting, _BLOCK_BYTES)
            waiting = unpacker.unconsumed_tail
            more_inside = len(plain) == _BLOCK_BYTES
            if plain:
                yield plain
            if unpacker.eof:
                waiting = _next_part(unpacker.unused_data, blocks)
                if window != _GZIP_WINDOW or not waiting.startswith(GZIP_SIGNATURE):
                    return
                unpacker, more_inside = zlib.decompressobj(window), False
    except zlib.error as error:
        raise damaged_packing(path) from error


def _next_part(waiting: bytes, blocks: Iterator[bytes]) -> bytes:
    """What follows a packed part: at least two bytes of it, if there are so many."""
    return waiting if len(waiting) > 1 else waiting + next(blocks, b"")
