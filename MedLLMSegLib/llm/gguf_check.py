"""Whether the lengths that a GGUF file's header states fit into the file.

The reader of the package gguf believes them: a damaged length makes it loop for hours. Source: the
format's own page, ggml's docs/gguf.md.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

MAX_DEPTH = 4  # of arrays in arrays
# Bytes of a value by its type's number; texts and arrays state their own length
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _ARRAY = 8, 9
_SMALLEST_TENSOR = 24  # bytes of a tensor's description: lengths, type and offset


def check_lengths(path: Path) -> None:
    """Raise ValueError unless all counts and lengths of the header fit into the file.

    Big-endian files and the old version 1 are left to the reader, which refuses them. Raises
    OSError where the file cannot be read.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if len(data) < 24:
            raise ValueError("the file ends within its header")
        version, tensors, fields = struct.unpack_from("<IQQ", data, 4)
        if version not in (2, 3):
            raise ValueError(f"version {version}")
        walk = _Walk(data, 24)
        for _ in range(walk.fitting(fields, 12)):
            walk.text()
            walk.value(walk.number("<I"), 0)
        walk.fitting(tensors, _SMALLEST_TENSOR)


class _Walk:
    """A place in the header that moves on; ValueError where the file ends before a value does."""

    def __init__(self, data: mmap.mmap, place: int) -> None:
        self.data = data
        self.place = place

    def fitting(self, count: int, size: int) -> int:
        """The count, if so many things of a size or more fit into what is left of the file."""
        if count * size > len(self.data) - self.place:
            raise ValueError(f"{count} things of {size} bytes at {self.place} of {len(self.data)}")
        return count

    def number(self, form: str) -> int:
        size = self.fitting(struct.calcsize(form), 1)
        (number,) = struct.unpack_from(form, self.data, self.place)
        self.place += size
        return int(number)

    def text(self) -> None:
        length = self.fitting(self.number("<Q"), 1)
        self.place += length

    def value(self, kind: int, depth: int) -> None:
        if kind == _TEXT:
            self.text()
        elif kind == _ARRAY and depth < MAX_DEPTH:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _SIZES:
                self.place += self.fitting(count, _SIZES[inner]) * _SIZES[inner]
            else:
                for _ in range(self.fitting(count, 8)):
                    self.value(inner, depth + 1)
        elif kind in _SIZES:
            self.place += self.fitting(_SIZES[kind], 1)
        else:
            raise ValueError(f"a value of type {kind}")
