"""Damaged DICOM files: one image, a series in a folder, and multi-frame files."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.radiograph import load_radiograph
from MedLLMSegLib.io.scan_search import find_scans
from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.dicom_datasets import CT, ENHANCED_MR, XRAY, file_bytes, image_dataset

from .kind import Kind
from .mutations import EXTREMES, any_bytes, splice

_TEXTS = (
    "",
    "0",
    "-1",
    "nan",
    "1e400",
    "1\\2\\3\\4",
    "a",
    "\\",
    "0\\0",
    "1e-30\\1e30",
    "x" * 70000,
)
_TAGS = (
    "SOPClassUID", "SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames",
    "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "PixelData",
    "PlanarConfiguration", "PixelPaddingValue", "SpecificCharacterSet", "Modality",
    "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "SliceThickness",
)  # fmt: skip


def _slice(number: int) -> FileDataset:
    pixels = (np.arange(8 * 9).reshape(8, 9) * 7 + number) % 4096
    data_set = image_dataset(pixels, CT, number)
    data_set.Modality, data_set.SliceThickness = "CT", "2.5"
    data_set.PixelSpacing, data_set.ImageOrientationPatient = [0.8, 0.7], [1, 0, 0, 0, 1, 0]
    data_set.ImagePositionPatient = [-20, -30, 2.5 * number]
    return data_set


def _xray() -> FileDataset:
    data_set = image_dataset((np.arange(40 * 36).reshape(40, 36) * 11) % 4096, XRAY)
    data_set.Modality, data_set.ViewPosition, data_set.BodyPartExamined = "DX", "PA", "CHEST"
    data_set.PhotometricInterpretation, data_set.PixelPaddingValue = "MONOCHROME1", 0
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    data_set.VOILUTSequence = Sequence([table])
    return data_set


def _enhanced() -> FileDataset:
    data_set = image_dataset(np.arange(4 * 6 * 7).reshape(4, 6, 7), ENHANCED_MR)
    data_set.Modality = "MR"
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.7], "2.5"
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([plane])
    data_set.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for n in range(4):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-20, -30, 2.5 * n]
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    data_set.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return data_set


@cache
def seeds() -> dict[str, tuple[bytes, ...]]:
    """Files of one image each by their use: "single", "frames", and the slices of a "series"."""
    single = [file_bytes(_xray()), file_bytes(_slice(0))]
    compressed = _slice(1)
    compressed.compress(RLELossless)
    implicit = _slice(2)
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    single += [file_bytes(compressed), file_bytes(implicit)]
    series = tuple(file_bytes(_slice(n)) for n in range(5))
    return {"single": tuple(single), "frames": (file_bytes(_enhanced()),), "series": series}


def _elements(rng: Random, data: bytes) -> bytes:
    """The file with some elements lost or of another value, whole in its form otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data_set = pydicom.dcmread(io.BytesIO(data), force=True)
            for _ in range(rng.choice((1, 1, 2, 3))):
                _change_element(rng, data_set)
            return file_bytes(data_set)
        except Exception:  # pydicom does not read or write everything
            return any_bytes(rng, data)


def _change_element(rng: Random, data_set: Dataset) -> None:
    names = [name for name in _TAGS if name in data_set]
    name = rng.choice(names or ["Rows"])
    if name not in data_set:
        return
    element = data_set[name]
    if element.VR == "SQ" and element.value and rng.random() < 0.8:
        item = rng.choice(list(element.value))
        inner = [e for e in item.iterall() if e.VR in ("DS", "IS", "SQ")]
        element = rng.choice(inner) if inner else element
    if rng.random() < 0.3 and element.tag in data_set:
        del data_set[element.tag]
    elif element.VR in ("US", "SS"):
        element.value = rng.choice((*(n for n in EXTREMES if 0 <= n < 65536), 16, 12, 32, 4096))
    elif element.VR == "SQ":
        element.value = rng.choice((Sequence(), Sequence(list(element.value) * 2)))
    elif element.VR in ("OW", "OB"):
        element.value = rng.choice((element.value[:-2], b"", element.value * 2, b"\0\0"))
    else:
        element._value = rng.choice(_TEXTS)


def _damaged(rng: Random, data: bytes, other: bytes) -> bytes:
    deed = rng.random()
    if deed < 0.5:
        return _elements(rng, data)
    if deed < 0.9:
        head = 132 if rng.random() < 0.7 else 0  # the preamble is of no interest
        return data[:head] + any_bytes(rng, data[head:])
    return splice(rng, data, other)


def _write(rng: Random, folder: Path) -> Path:
    every = [data for group in seeds().values() for data in group]
    use = rng.choice(("single", "frames", "series"))
    files = list(seeds()[use]) if use == "series" else [rng.choice(seeds()[use])]
    for _ in range(rng.choice((1, 1, 2)) if use == "series" else 1):
        n = rng.randrange(len(files))
        files[n] = _damaged(rng, files[n], rng.choice(every))
    for n, data in enumerate(files):
        (folder / f"IM{n}.dcm").write_bytes(data)
    return folder if use == "series" else folder / "IM0.dcm"


def _read(path: Path) -> object:
    """A folder as a series; one file as a volume and as an X-ray, of which one must be read."""
    scans = find_scans([path])
    if path.is_dir():
        return [load_volume(scan) for scan in scans]
    try:
        volume = load_volume(path)
    except UserError:
        return load_radiograph(path)
    try:
        return volume, load_radiograph(path)
    except UserError:
        return volume


KINDS = (Kind("dicom", _write, _read),)
