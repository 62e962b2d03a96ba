"""The header of a NIfTI-1 file. Source: nifti1.h, https://nifti.nimh.nih.gov/pub/dist/src/niftilib."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array

from ..file_errors import wrong_content

HEADER_BYTES = 348
FIRST_VOXEL = 352  # the earliest byte at which the voxels of a single file may begin
NIFTI_2_HEADER_BYTES = 540
SINGLE_FILE, IN_TWO_FILES = b"n+1\0", b"ni1\0"  # what stands at the header's end
# Bytes at which a header holds its codes of qform and sform
CODES_AT = 252
# NIfTI's codes of the data types that numpy has, too
NUMBER_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COLOUR_TYPES = {128: 3, 2304: 4}
_OTHER_TYPES = {1: "single bits", 32: "complex numbers", 1792: "complex numbers"}


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What a header says.

    content: its bytes. shape: voxels along i, j, k and further axes. dtype: of a voxel as stored.
    voxels_start: byte at which the voxels begin, as stated. pixdim: 8 numbers; those from 1 on are
    the voxel sizes. slope, intercept: value = slope x stored + intercept. codes: of qform and sform
    (0: not given). qform: (4, 4) to RAS; sform: (4, 4) to RAS; both as stated, valid or not.
    """

    content: bytes
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    voxels_start: float
    pixdim: tuple[float, ...]
    slope: float
    intercept: float
    codes: tuple[int, int]
    qform: Array
    sform: Array

    @property
    def voxels_bytes(self) -> int:
        """The size of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Voxel sizes along i, j and k, or as many axes as there are. Some files have a sign."""
        return self.pixdim[1 : min(len(self.shape), 3) + 1]


def parse_header(content: bytes, path: Path) -> NiftiHeader:
    """The header in the first bytes of a file. Raises `UserError` for anything else, and for voxels
    that are no plain numbers.
    """
    order = _byte_order(content, path)
    if content[344:348] not in (SINGLE_FILE, IN_TWO_FILES):
        raise wrong_content(path, "NIfTI")
    dimensions = struct.unpack_from(order + "8h", content, 40)
    pixdim = struct.unpack_from(order + "8f", content, 76)
    voxels_start, slope, intercept = struct.unpack_from(order + "3f", content, 108)
    if not math.isfinite(voxels_start):
        raise wrong_content(path, "NIfTI")
    sform = np.eye(4)
    sform[:3] = np.reshape(struct.unpack_from(order + "12f", content, 280), (3, 4))
    shape = _shape(dimensions, path)
    qform_code, sform_code = struct.unpack_from(order + "2h", content, CODES_AT)
    return NiftiHeader(
        content=content,
        shape=shape,
        dtype=_data_type(content, order, path),
        voxels_start=voxels_start,
        pixdim=pixdim,
        slope=slope,
        intercept=intercept,
        codes=(max(qform_code, 0), max(sform_code, 0)),
        qform=_qform(struct.unpack_from(order + "6f", content, 256), pixdim),
        sform=sform,
    )


def _shape(dimensions: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """Voxels along each axis. Some programs write 0 for a further axis that is not used."""
    axes = dimensions[0]
    if not 1 <= axes <= 7 or min(dimensions[1 : min(axes, 3) + 1]) < 1:
        raise wrong_content(path, "NIfTI")
    further = dimensions[4 : axes + 1]
    if further and min(further) < 0:
        raise wrong_content(path, "NIfTI")
    return (*dimensions[1 : min(axes, 3) + 1], *(max(n, 1) for n in further))


def _data_type(content: bytes, order: str, path: Path) -> np.dtype[Any]:
    (code,) = struct.unpack_from(order + "h", content, 70)
    if code in NUMBER_TYPES:
        return np.dtype(order + NUMBER_TYPES[code])
    if code in _COLOUR_TYPES:
        raise UserError(
            f'"{path}" has {_COLOUR_TYPES[code]} values in each voxel (colour), and plain grey'
            " values are needed; convert it to a scalar volume."
        )
    found = _OTHER_TYPES.get(code, f"values of a kind ({code}) that is not known here")
    raise UserError(
        f'"{path}" holds {found}, and plain grey values are needed; convert it, for example with'
        " nibabel."
    )


def _qform(numbers: tuple[float, ...], pixdim: tuple[float, ...]) -> Array:
    """The rotation of a quaternion, with voxel sizes and offset, as (4, 4).

    numbers: b, c and d of the quaternion, and the offset in mm.
    """
    b, c, d = numbers[:3]
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    third_sign = -1.0 if pixdim[0] < 0 else 1.0
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.abs(pixdim[1:4]) * [1.0, 1.0, third_sign]
    matrix[:3, 3] = numbers[3:]
    return matrix


def _byte_order(content: bytes, path: Path) -> str:
    """The byte order, "<" or ">", in which the header gives its own size."""
    if len(content) < HEADER_BYTES:
        raise wrong_content(path, "NIfTI")
    for order in "<>":
        (size,) = struct.unpack_from(order + "i", content)
        if size == HEADER_BYTES:
            return order
        if size == NIFTI_2_HEADER_BYTES:
            raise UserError(
                f'"{path}" is a NIfTI-2 file, and NIfTI-1 is needed; convert it, for example with'
                " nibabel."
            )
    raise wrong_content(path, "NIfTI")
