"""Whatever a file's orientation, spacing, shear, type and order of slices: each voxel keeps its
value and its place in the body.

The files are written by nibabel, by pydicom and by hand, never by the library.
"""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.dicom_datasets import CT, ENHANCED_MR, file_bytes, image_dataset

nibabel = pytest.importorskip("nibabel")

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
NEAR_MM = 2e-3  # float32 in NIfTI, 16 characters in DICOM
few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Scan:
    """array: [k, j, i]. axes: (3, 3) RAS unit vectors of i, j, k in columns, at right angles."""

    array: np.ndarray
    axes: np.ndarray
    spacing_mm: np.ndarray
    origin_ras: np.ndarray

    @property
    def ijk_to_ras(self) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:3, :3] = self.axes * self.spacing_mm
        matrix[:3, 3] = self.origin_ras
        return matrix


def _rotation(quaternion) -> np.ndarray:
    w, x, y, z = np.asarray(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@st.composite
def axes(draw) -> np.ndarray:
    """Axes along the body's, in any order and direction, or turned by any angle."""
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    straight = np.eye(3)[:, order] * signs
    if draw(st.booleans()):
        return straight
    parts = draw(st.tuples(*[st.integers(-50, 50)] * 4).filter(any))
    return _rotation(parts) @ straight


@st.composite
def scans(draw, dtypes=("int16",), smallest=2) -> Scan:
    shape = draw(st.tuples(*[st.integers(smallest, 6)] * 3))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    low = 0 if dtype.kind == "u" else -100
    array = rng.permutation(np.arange(low, low + np.prod(shape))).reshape(shape).astype(dtype)
    spacing = draw(st.tuples(*[st.integers(1, 120).map(lambda n: n / 10)] * 3))
    origin = draw(st.tuples(*[st.integers(-300, 300)] * 3))
    return Scan(array, draw(axes()), np.array(spacing), np.array(origin, float))


shears = st.floats(-0.9, 0.9).filter(lambda s: abs(s) > 0.05)


def assert_same_places(volume: Volume, scan: Scan, matrix: np.ndarray | None = None):
    """Every voxel of the scan is found in the volume at the place where it lies."""
    matrix = scan.ijk_to_ras if matrix is None else matrix
    assert volume.array.size == scan.array.size
    indices = np.argwhere(np.ones(scan.array.shape, bool))
    ras = transform_points(matrix, indices[:, ::-1])
    found = transform_points(np.linalg.inv(volume.ijk_to_ras), ras)
    nearest = np.rint(found).astype(int)
    off_mm = transform_points(volume.ijk_to_ras, nearest) - ras
    assert np.abs(off_mm).max() < NEAR_MM * max(1.0, scan.spacing_mm.max())
    i, j, k = nearest.T
    assert (nearest >= 0).all() and (nearest < volume.array.shape[::-1]).all()
    assert np.array_equal(volume.array[k, j, i], scan.array.ravel())


def read(name: str, data: bytes, **beside: bytes) -> Volume:
    with tempfile.TemporaryDirectory() as folder:
        for other, content in {name: data, **beside}.items():
            (Path(folder) / other).write_bytes(content)
        return load_volume(Path(folder) / name)


# ---- NIfTI ----

NIFTI_TYPES = ("uint8", "int8", "int16", "uint16", "int32", "float32", "float64")


def _nifti(scan: Scan, matrix: np.ndarray, order: str, forms: str) -> bytes:
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(scan.array.dtype)
    image = nibabel.Nifti1Image(scan.array.T, matrix, header)
    image.set_sform(matrix if forms != "qform" else None, code=1 if forms != "qform" else 0)
    image.set_qform(matrix if forms != "sform" else None, code=1 if forms != "sform" else 0)
    return image.to_bytes()


@few
@given(
    scans(NIFTI_TYPES),
    st.sampled_from("<>"),
    st.sampled_from(("both", "sform", "qform")),
    st.booleans(),
)
def test_nifti(scan, order, forms, packed):
    data = _nifti(scan, scan.ijk_to_ras, order, forms)
    volume = read("a.nii.gz", gzip.compress(data, 1)) if packed else read("a.nii", data)
    assert volume.array.dtype == scan.array.dtype
    assert volume.array.dtype.isnative
    assert_same_places(volume, scan)


@few
@given(scans(), shears)
def test_a_sheared_nifti_is_read_on_its_grid_or_refused(scan, shear):
    matrix = scan.ijk_to_ras
    matrix[:3, 1] += shear * matrix[:3, 0]
    try:
        volume = read("a.nii", _nifti(scan, matrix, "<", "sform"))
    except UserError as error:
        assert "right angles" in str(error)
    else:
        assert_same_places(volume, scan, matrix)


# ---- NRRD and MetaImage ----

NRRD_TYPES = {"uint8": "uchar", "int16": "short", "uint16": "ushort", "int32": "int",
              "float32": "float", "float64": "double"}  # fmt: skip
SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "LPS": (-1, -1, 1),
    "left-anterior-superior": (-1, 1, 1),
}
META_TYPES = {"uint8": "MET_UCHAR", "int16": "MET_SHORT", "uint16": "MET_USHORT",
              "int32": "MET_INT", "float32": "MET_FLOAT", "float64": "MET_DOUBLE"}  # fmt: skip


def _vector(values) -> str:
    return "(" + ",".join(f"{v:.17g}" for v in values) + ")"


def _nrrd(scan: Scan, matrix: np.ndarray, space: str, order: str, encoding: str) -> bytes:
    to_space = np.array(SPACES[space])[:, None]
    matrix = matrix[:3] * to_space
    voxels = scan.array.astype(scan.array.dtype.newbyteorder(order)).tobytes()
    if encoding == "gzip":
        voxels = gzip.compress(voxels, 1)
    elif encoding == "ascii":
        voxels = " ".join(str(v) for v in scan.array.ravel()).encode()
    k, j, i = scan.array.shape
    lines = (
        "NRRD0004",
        f"type: {NRRD_TYPES[scan.array.dtype.name]}",
        "dimension: 3",
        f"space: {space}",
        f"sizes: {i} {j} {k}",
        f"space directions: {' '.join(_vector(column) for column in matrix[:, :3].T)}",
        f"endian: {'little' if order == '<' else 'big'}",
        f"encoding: {encoding}",
        f"space origin: {_vector(matrix[:, 3])}",
    )
    return "\n".join(lines).encode() + b"\n\n" + voxels


@few
@given(
    scans(tuple(NRRD_TYPES)),
    st.sampled_from(list(SPACES)),
    st.sampled_from("<>"),
    st.sampled_from(("raw", "gzip", "ascii")),
)
def test_nrrd(scan, space, order, encoding):
    volume = read("a.nrrd", _nrrd(scan, scan.ijk_to_ras, space, order, encoding))
    assert volume.array.dtype == scan.array.dtype
    assert_same_places(volume, scan)


@few
@given(scans(), shears)
def test_a_sheared_nrrd_is_read_on_its_grid_or_refused(scan, shear):
    matrix = scan.ijk_to_ras
    matrix[:3, 2] += shear * matrix[:3, 0]
    try:
        volume = read("a.nrrd", _nrrd(scan, matrix, "LPS", "<", "raw"))
    except UserError as error:
        assert "right angles" in str(error)
    else:
        assert_same_places(volume, scan, matrix)


@few
@given(scans(tuple(META_TYPES)), st.sampled_from("<>"), st.booleans())
def test_metaimage(scan, order, beside):
    axes_lps, origin = LPS_TO_RAS @ scan.axes, LPS_TO_RAS @ scan.origin_ras
    voxels = scan.array.astype(scan.array.dtype.newbyteorder(order)).tobytes()
    lines = (
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        f"BinaryDataByteOrderMSB = {order == '>'}",
        f"TransformMatrix = {' '.join(f'{v:.17g}' for v in axes_lps.T.ravel())}",
        f"Offset = {' '.join(f'{v:.17g}' for v in origin)}",
        f"ElementSpacing = {' '.join(f'{v:.17g}' for v in scan.spacing_mm)}",
        f"DimSize = {' '.join(map(str, scan.array.shape[::-1]))}",
        f"ElementType = {META_TYPES[scan.array.dtype.name]}",
        f"ElementDataFile = {'a.raw' if beside else 'LOCAL'}",
    )
    head = "\n".join(lines).encode() + b"\n"
    volume = read("a.mhd", head, **{"a.raw": voxels}) if beside else read("a.mha", head + voxels)
    assert volume.array.dtype == scan.array.dtype
    assert_same_places(volume, scan)


# ---- DICOM, through the public function ----


def _text(values) -> list[str]:
    return [f"{v:.10g}"[:16] for v in values]


def _position(scan: Scan, k: int) -> list[str]:
    return _text(LPS_TO_RAS @ (scan.origin_ras + k * scan.spacing_mm[2] * scan.axes[:, 2]))


def _geometry(scan: Scan) -> tuple[list[str], list[str]]:
    """PixelSpacing (between rows, between columns) and ImageOrientationPatient."""
    directions = LPS_TO_RAS @ scan.axes[:, :2]
    return _text(scan.spacing_mm[[1, 0]]), _text(directions.T.ravel())


def _series(scan: Scan, order, intercept: int) -> dict[str, bytes]:
    """One file a slice; names and instance numbers in another order than the slices lie."""
    spacing, orientation = _geometry(scan)
    files = {}
    for number, k in enumerate(order):
        data_set = image_dataset(scan.array[k].astype(int) - intercept, CT, number)
        data_set.Modality, data_set.RescaleIntercept = "CT", str(intercept)
        data_set.PixelSpacing, data_set.ImageOrientationPatient = spacing, orientation
        data_set.ImagePositionPatient = _position(scan, k)
        files[f"IM{number}.dcm"] = file_bytes(data_set)
    return files


def _read_folder(files: dict[str, bytes]) -> Volume:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        return load_volume(folder)


@few
@given(scans(smallest=3), st.randoms(use_true_random=False), st.sampled_from((-100, -1024)))
def test_a_dicom_series_whose_files_are_in_any_order(scan, random, intercept):
    order = list(range(len(scan.array)))
    random.shuffle(order)
    assert_same_places(_read_folder(_series(scan, order, intercept)), scan)


def _multi_frame(scan: Scan, order) -> bytes:
    spacing, orientation = _geometry(scan)
    data_set = image_dataset(scan.array[list(order)].astype(int) + 100, ENHANCED_MR)
    data_set.Modality, data_set.RescaleIntercept = "MR", "-100"
    measures, plane, values, shared = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = spacing, "1"
    plane.ImageOrientationPatient = orientation
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", "-100", "US"
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([plane])
    shared.PixelValueTransformationSequence = Sequence([values])
    data_set.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in order:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = _position(scan, k)
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    data_set.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return file_bytes(data_set)


@few
@given(scans(smallest=3), st.randoms(use_true_random=False))
def test_an_enhanced_dicom_file_whose_frames_are_in_any_order(scan, random):
    """What the reader of 0.3 got wrong: it took frames in the order of the file."""
    order = list(range(len(scan.array)))
    random.shuffle(order)
    assert_same_places(read("a.dcm", _multi_frame(scan, order)), scan)


@few
@given(scans(smallest=3), shears)
def test_slices_that_jump_sideways_are_read_where_they_lie_or_refused(scan, shear):
    """A sheared series: its slices are shifted along their rows, evenly."""
    matrix = scan.ijk_to_ras
    matrix[:3, 2] += shear * matrix[:3, 0]
    spacing, orientation = _geometry(scan)
    files = _series(scan, range(len(scan.array)), -100)
    for k in range(len(scan.array)):
        data_set = image_dataset(scan.array[k].astype(int) + 100, CT, k)
        data_set.Modality, data_set.RescaleIntercept = "CT", "-100"
        data_set.PixelSpacing, data_set.ImageOrientationPatient = spacing, orientation
        position = LPS_TO_RAS @ (matrix[:3, 3] + k * matrix[:3, 2])
        data_set.ImagePositionPatient = _text(position)
        files[f"IM{k}.dcm"] = file_bytes(data_set)
    try:
        volume = _read_folder(files)
    except UserError:
        return
    assert_same_places(volume, scan, matrix)
