"""Damaged scans: NIfTI, NRRD and MHA."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

import nibabel
import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.io.volume_files import load_volume

from .kind import Kind
from .mutations import (
    EXTREME_FLOATS,
    EXTREMES,
    any_bytes,
    any_text,
    bomb,
    gzip_oddity,
    packed,
    splice,
    unpacked,
)

SHAPE = (5, 6, 7)
NRRD_SUFFIXES, META_SUFFIXES = (".nrrd", ".nrrd", ".nhdr"), (".mha", ".mha", ".mhd")
# Offsets and forms of the header's fields (nifti1.h)
NIFTI_FIELDS = (
    (0, "i"), (38, "B"), (39, "B"), *((40 + 2 * n, "h") for n in range(8)), (56, "f"), (68, "h"),
    (70, "h"), (72, "h"), (74, "h"), *((76 + 4 * n, "f") for n in range(8)), (108, "f"),
    (112, "f"), (116, "f"), (120, "h"), (122, "B"), (123, "B"), (124, "f"), (128, "f"), (252, "h"),
    (254, "h"), *((256 + 4 * n, "f") for n in range(18)), (344, "i"), (348, "i"),
)  # fmt: skip
NIFTI_TYPES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 1, 0)


def _volume(dtype: str, frames: int = 0) -> np.ndarray:
    rng = np.random.default_rng(5)
    shape = (frames, *SHAPE) if frames else SHAPE
    return rng.integers(0, 100, shape).astype(dtype)


@cache
def nifti_seeds() -> tuple[bytes, ...]:
    """Whole .nii files of several types, both byte orders, 3D and 4D, NIfTI-1 and NIfTI-2."""
    turn = np.diag([-0.8, 1.1, 2.5, 1.0])
    turn[:3, 3] = 12.0, -30.0, 5.0
    seeds = []
    for dtype, order, frames in (
        ("int16", "<", 0), ("float32", "<", 0), ("float64", "<", 0), ("uint8", "<", 3),
        ("int16", ">", 0), ("int32", "<", 0),
    ):  # fmt: skip
        header = nibabel.Nifti1Header(endianness=order)
        header.set_data_dtype(dtype)
        image = nibabel.Nifti1Image(_volume(dtype, frames).T, turn, header)
        image.header.set_slope_inter(*((2.0, -5.0) if dtype == "int32" else (1.0, 0.0)))
        seeds.append(image.to_bytes())
    seeds.append(nibabel.Nifti2Image(_volume("int16").T, turn).to_bytes())
    return tuple(seeds)


def _nifti_fields(rng: Random, data: bytes) -> bytes:
    """Fields of the header with extreme, or merely other, values."""
    damaged = bytearray(data)
    order = "<" if data[:4] == struct.pack("<i", 348) else ">"
    for _ in range(rng.choice((1, 1, 2, 3))):
        offset, form = rng.choice(NIFTI_FIELDS)
        if form == "f":
            value: float = rng.choice((*EXTREME_FLOATS, 348.0, 352.5, 353.0, 1000.0, 2e9, -352.0))
        elif offset == 70:
            value = rng.choice(NIFTI_TYPES)
        else:
            value = rng.choice((*EXTREMES, 4, 5, 6, 16, 32, 30000))
            bits = 8 * struct.calcsize(form)
            value = value % (1 << bits) - (1 << bits - 1 if form != "B" else 0)
        struct.pack_into(order + form, damaged, offset, value)
    return bytes(damaged)


def _write_nifti(rng: Random, folder: Path) -> Path:
    data = rng.choice(nifti_seeds())
    deed = rng.random()
    if deed < 0.5:
        data = _nifti_fields(rng, data)
    elif deed < 0.85:
        data = any_bytes(rng, data)
    elif deed < 0.9:
        data = splice(rng, data, rng.choice(nifti_seeds()))
    compressed = rng.random() < 0.5
    if compressed:
        data = gzip_oddity(rng, data) if rng.random() < 0.3 else packed(data)
        data = bomb(data) if rng.random() < 0.003 else data
    honest = rng.random() < 0.95
    path = folder / ("a.nii.gz" if compressed == honest else "a.nii")
    path.write_bytes(data)
    return path


Files = dict[str, bytes]


@cache
def itk_seeds(suffixes: Sequence[str]) -> tuple[Files, ...]:
    """What ITK writes for a name with each suffix: one file, or header and data."""
    seeds = []
    for suffix in suffixes:
        for dtype, frames, compress in (
            ("int16", 0, False), ("float32", 0, True), ("uint8", 0, False), ("uint16", 0, True),
        ):  # fmt: skip
            image = sitk.GetImageFromArray(_volume(dtype, frames), isVector=False)
            image.SetSpacing([0.8, 1.1, 2.5, 1.0][: image.GetDimension()])
            with tempfile.TemporaryDirectory() as folder:
                sitk.WriteImage(image, f"{folder}/a{suffix}", useCompression=compress)
                files = sorted(Path(folder).iterdir(), key=lambda path: path.suffix != suffix)
                seeds.append({path.name: path.read_bytes() for path in files})
    return tuple(seeds)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The text header of a file and the voxels behind it."""
    for mark in (b"\n\n", b"ElementDataFile = LOCAL\n", b"ElementDataFile = LOCAL\r\n"):
        head, found, body = data.partition(mark)
        if found:
            return head + found, body
    return data, b""


def _other_body(rng: Random, body: bytes) -> bytes:
    if body[:2] == b"\x1f\x8b" and rng.random() < 0.5:
        if rng.random() < 0.02:
            return bomb(body)
        return rng.choice((gzip_oddity(rng, body), packed(any_bytes(rng, unpacked(body)))))
    return any_bytes(rng, body)


def _damage_itk_file(rng: Random, data: bytes, other: bytes) -> bytes:
    head, body = _split(data)
    deed = rng.random()
    if deed < 0.5:
        return any_text(rng, head) + body
    if deed < 0.75:
        return head + _other_body(rng, body) if body else any_text(rng, any_text(rng, head))
    return any_bytes(rng, data) if deed < 0.95 else splice(rng, data, other)


def _write_itk(rng: Random, folder: Path, suffixes: Sequence[str]) -> Path:
    files = dict(rng.choice(itk_seeds(suffixes)))
    other = rng.choice(list(rng.choice(itk_seeds(suffixes)).values()))
    name = next(iter(files))
    damaged = name if rng.random() < 0.7 else rng.choice(list(files))
    if damaged != name and rng.random() < 0.2:
        del files[damaged]
    else:
        files[damaged] = _damage_itk_file(rng, files[damaged], other)
    for file_name, data in files.items():
        (folder / file_name).write_bytes(data)
    return folder / name


def _write_nrrd(rng: Random, folder: Path) -> Path:
    return _write_itk(rng, folder, NRRD_SUFFIXES)


def _write_mha(rng: Random, folder: Path) -> Path:
    return _write_itk(rng, folder, META_SUFFIXES)


KINDS = (
    Kind("nifti", _write_nifti, load_volume),
    Kind("nrrd", _write_nrrd, load_volume),
    Kind("mha", _write_mha, load_volume),
)
