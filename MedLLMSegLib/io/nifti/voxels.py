"""The voxels of a NIfTI-1 file, complete and finite, or an error.

ITK reads a truncated file without complaint and fills the rest with whatever lies in memory, turns
a voxel that is not a number into 0, and begins in the middle of the header where its offset is
missing. So the voxels are read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array

from ..file_errors import cut_short, damaged_packing
from ..packed_files import most_plain_bytes
from .header import FIRST_VOXEL, NiftiHeader

MOST_EXTRA_BYTES = 1 << 26  # of what may follow the voxels


class ByteSource:
    """Reads blocks of bytes in pieces of any length."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = b""
        self.count = 0

    def read(self, count: int) -> bytes:
        """The next bytes: so many, or as many as there are."""
        while len(self._left) < count:
            block = next(self._blocks, b"")
            if not block:
                break
            self._left += block
        piece, self._left = self._left[:count], self._left[count:]
        self.count += len(piece)
        return piece

    def read_into(self, target: NDArray[np.uint8]) -> int:
        """Fill an array of bytes; how many there were."""
        done = 0
        while done < len(target):
            block = self._left or next(self._blocks, b"")
            if not block:
                break
            taken = min(len(block), len(target) - done)
            target[done : done + taken] = np.frombuffer(block, np.uint8, taken)
            self._left = block[taken:]
            done += taken
        self.count += done
        return done

    def rest(self, most: int) -> int:
        """Pass over what is left, which checks it; how much it was. Stops beyond ``most``."""
        count = len(self._left)
        self._left = b""
        while count <= most:
            block = next(self._blocks, b"")
            if not block:
                break
            count += len(block)
        self.count += count
        return count


def read_voxels(header: NiftiHeader, source: ByteSource, path: Path) -> Array:
    """The voxels as stored, [..., k, j, i].

    source: has read the header's bytes. Raises `UserError` if there are fewer than the header says,
    or some are not finite, or what follows them is damaged.
    """
    start = _start(header, path)
    source.read(start - source.count)
    if header.voxels_bytes > most_plain_bytes(path):  # before memory is taken for them
        raise cut_short(path, path.stat().st_size, header.voxels_bytes)
    stored = np.empty(header.shape[::-1], header.dtype)
    present = source.read_into(stored.reshape(-1).view(np.uint8))
    if present < header.voxels_bytes:
        raise cut_short(path, present, header.voxels_bytes)
    extra = source.rest(MOST_EXTRA_BYTES)
    if extra > MOST_EXTRA_BYTES:
        raise damaged_packing(path)
    if header.voxels_start < FIRST_VOXEL and extra:
        raise _no_start(header, path)
    if header.dtype.kind == "f":
        _check_finite(stored, path)
    return stored.astype(header.dtype.newbyteorder("="), copy=False)


def _start(header: NiftiHeader, path: Path) -> int:
    """The byte at which the voxels begin. A missing number (0) stands for the earliest byte."""
    if header.voxels_start == 0:
        return FIRST_VOXEL
    if header.voxels_start < FIRST_VOXEL:
        raise _no_start(header, path)
    if header.voxels_start > most_plain_bytes(path):
        raise cut_short(path, 0, header.voxels_bytes)
    return int(header.voxels_start)


def _no_start(header: NiftiHeader, path: Path) -> UserError:
    return UserError(
        f'"{path}" says that its voxels begin at byte {header.voxels_start:g} (vox_offset), within'
        f" the header itself, and at least {FIRST_VOXEL} is needed; correct the header, or export"
        " the scan again."
    )


def _check_finite(stored: Array, path: Path) -> None:
    """Raise `UserError` for values that are not a number or infinite."""
    slices = stored.reshape(-1, *stored.shape[-2:]) if stored.ndim > 1 else stored
    count = sum(int(each.size - np.isfinite(each).sum()) for each in slices)
    if count:
        raise UserError(
            f'"{path}" has {count} voxels that are NaN or infinite; '
            "replace them (for example by 0) and try again."
        )
