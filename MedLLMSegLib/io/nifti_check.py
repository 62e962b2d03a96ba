"""Checks of a NIfTI-1 file before ITK reads it.

ITK reads a truncated file without complaint and fills the rest with whatever lies in memory. It
turns a voxel size of zero into 1 mm, and a voxel that is not a number into 0.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from MedLLMSegLib.core.errors import UserError

HEADER_BYTES = 348
NIFTI_2_HEADER_BYTES = 540
GZIP_SIGNATURE = b"\x1f\x8b"
# NIfTI's codes of floating-point data types, which alone can hold values that are not finite
FLOAT_TYPES = {16: "f4", 64: "f8"}
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class NiftiHeader:
    """What the checks need of a header.

    voxels_start: byte at which the voxels begin. voxels_bytes: their total size.
    float_type: their data type if it is a floating-point one, else None.
    spacing_mm: voxel sizes along i, j, k.
    """

    voxels_start: int
    voxels_bytes: int
    float_type: np.dtype[Any] | None
    spacing_mm: tuple[float, ...]


@dataclass(frozen=True)
class VoxelCount:
    """present_bytes: bytes of voxels in the file. not_finite: voxels that are NaN or infinite."""

    present_bytes: int
    not_finite: int


def check_nifti(path: Path) -> None:
    """Raise `UserError` unless header, voxel sizes and voxels are complete and valid."""
    with open(path, "rb") as file:
        compressed = file.read(2) == GZIP_SIGNATURE
    try:
        with gzip.open(path, "rb") if compressed else open(path, "rb") as file:
            header = _parse_header(file.read(HEADER_BYTES), path)
            file.seek(header.voxels_start)
            count = _count_voxels(file, header)
            if compressed:
                _read_to_end(file)  # so that gzip compares its own checksum
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f'"{path}" is cut short or damaged (its compressed data ends too early or does not'
            " match its checksum); copy or download it again."
        ) from error
    if count.present_bytes < header.voxels_bytes:
        raise UserError(
            f'"{path}" is cut short: it holds {count.present_bytes} of {header.voxels_bytes} bytes;'
            " copy or download it again."
        )
    if count.not_finite:
        raise UserError(
            f'"{path}" has {count.not_finite} voxels that are not a number or infinite; '
            "replace them (for example by 0) and try again."
        )
    if not all(math.isfinite(s) and s != 0 for s in header.spacing_mm):
        sizes = " x ".join(f"{s:g}" for s in header.spacing_mm)
        raise UserError(
            f'"{path}" has a voxel size of {sizes} mm, and none may be zero; '
            "correct the spacing in the file's header."
        )


def _count_voxels(file: BinaryIO | gzip.GzipFile, header: NiftiHeader) -> VoxelCount:
    """Count the bytes and the invalid values of a file that is positioned at its first voxel."""
    present = not_finite = 0
    while present < header.voxels_bytes:
        block = file.read(min(_BLOCK_BYTES, header.voxels_bytes - present))
        if not block:
            break
        present += len(block)
        if header.float_type is not None:
            whole_values = len(block) // header.float_type.itemsize
            values = np.frombuffer(block, header.float_type, whole_values)
            not_finite += len(values) - int(np.count_nonzero(np.isfinite(values)))
    return VoxelCount(present, not_finite)


def _read_to_end(file: BinaryIO | gzip.GzipFile) -> None:
    while file.read(_BLOCK_BYTES):
        pass


def _parse_header(head: bytes, path: Path) -> NiftiHeader:
    """The header in the first bytes of a file. Source: NIfTI-1, nifti1.h."""
    order = _byte_order(head, path)
    dimensions = struct.unpack_from(order + "8h", head, 40)
    (type_code,) = struct.unpack_from(order + "h", head, 70)
    (bits_per_voxel,) = struct.unpack_from(order + "h", head, 72)
    voxel_sizes = struct.unpack_from(order + "8f", head, 76)
    (voxels_start,) = struct.unpack_from(order + "f", head, 108)
    axes = dimensions[0]
    shape = dimensions[1 : axes + 1]
    if not 1 <= axes <= 7 or min(shape) < 1 or not math.isfinite(voxels_start):
        raise wrong_content(path, "NIfTI")
    float_type = FLOAT_TYPES.get(type_code)
    return NiftiHeader(
        voxels_start=max(0, int(voxels_start)),
        voxels_bytes=math.prod(shape) * bits_per_voxel // 8,
        float_type=np.dtype(order + float_type) if float_type else None,
        spacing_mm=voxel_sizes[1 : min(axes, 3) + 1],
    )


def _byte_order(head: bytes, path: Path) -> str:
    """The byte order, "<" or ">", in which the header gives its own size."""
    if len(head) < HEADER_BYTES:
        raise wrong_content(path, "NIfTI")
    for order in "<>":
        (size,) = struct.unpack_from(order + "i", head)
        if size == HEADER_BYTES:
            return order
        if size == NIFTI_2_HEADER_BYTES:
            raise UserError(
                f'"{path}" is a NIfTI-2 file, and NIfTI-1 is needed; convert it, for example with'
                " nibabel."
            )
    raise wrong_content(path, "NIfTI")


def wrong_content(path: Path, format_name: str) -> UserError:
    """The error for a file whose content is not of the format that its name says."""
    return UserError(
        f'"{path}" is named like a {format_name} file, but its content is something else or'
        " damaged; check that it is the right file, or export it again."
    )
