"""Small scans and segmentations for tests, oriented in every way."""

import numpy as np
import pytest

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume

SHAPE = (9, 11, 13)  # k, j, i: all different, so that a swapped axis cannot hide
SPOT = (2, 3, 10)  # k, j, i of the one bright voxel, off every centre


def rotated(degrees: float) -> np.ndarray:
    """A turn about an axis that is none of the scanner's."""
    x, y, z = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


DIRECTIONS = {
    "ras": np.eye(3),
    "lps": np.diag([-1.0, -1, 1]),
    "flipped": np.diag([1.0, -1, -1]),
    "left-handed": np.diag([-1.0, 1, 1]),
    "permuted": np.eye(3)[:, [2, 0, 1]],
    "oblique": rotated(25),
    "oblique flipped": rotated(140) @ np.diag([1.0, -1, 1]),
}


def make_volume(direction: str = "oblique", dtype=np.int16, channels: int = 0) -> Volume:
    """Noise with one bright voxel at SPOT, 0.7 x 1.3 x 2.6 mm."""
    rng = np.random.default_rng(1)
    array = rng.integers(0, 50, (channels, *SHAPE) if channels else SHAPE).astype(dtype)
    array[(..., *SPOT)] = 99
    matrix = np.eye(4)
    matrix[:3, :3] = DIRECTIONS[direction] * [0.7, 1.3, 2.6]
    matrix[:3, 3] = [-31.4, 27.1, 118.3]
    return Volume(array, matrix, "scan")


def make_segmentation(direction: str = "oblique") -> Segmentation:
    volume = make_volume(direction)
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:5, 8:11] = 1
    labels[5, 6, 7] = 4  # 2 and 3 are left empty: a structure may be missing
    return Segmentation(volume.with_array(labels), hippocampus_structures(lateral=True))


def spot_ras(volume: Volume, value=99) -> np.ndarray:
    """Where the voxels of a value lie: (n, 3) RAS mm."""
    return transform_points(volume.ijk_to_ras, np.argwhere(volume.array == value)[:, ::-1])


def nifti_bytes(mutate=None) -> bytes:
    """A .nii file's bytes; mutate(header) changes its header."""
    nibabel = pytest.importorskip("nibabel")
    volume = make_volume("ras")
    image = nibabel.Nifti1Image(volume.array.T.copy(), volume.ijk_to_ras)
    header = image.header.copy()
    if mutate:
        mutate(header)
    header["vox_offset"] = 352
    return header.binaryblock + bytes(4) + volume.array.astype(header.get_data_dtype()).tobytes()
