"""The scans that `foreign_inputs` shows to every model: those of each shipped model, and more.

A few of each kind, from the shared data, and phantoms made here. Of data with splits, those of the
test, so that they are new to the models that were trained on such.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data.acdc import read_hdf5
from MedLLMSegLib.io.scan_search import find_scans
from MedLLMSegLib.io.volume_files import load_volume

from .brain_scans import SLICE_MM, in_thick_slices

BRAINS, HEADS_T1, HEADS_FLAIR = "brains, T1, skull off", "heads, T1", "heads, FLAIR"
OTHER_HEADS = "heads, MR, of others"  # with --more
THICK = f"brains, T1, in slices of {SLICE_MM} mm"
CROPS, HEARTS = "crops around a hippocampus", "hearts, cine MR"
# Model -> the kinds of scan that it was made for.
OWN: dict[str, tuple[str, ...]] = {
    "brain-mr": (BRAINS, HEADS_T1, HEADS_FLAIR, THICK, OTHER_HEADS),
    "hippocampus-t1": (BRAINS, HEADS_T1, CROPS),
    "cardiac-cine-mr": (HEARTS,),
}
# Kind -> files below the shared data.
FILES: dict[str, tuple[str, ...]] = {
    BRAINS: tuple(f"oasis_brains/images/oasis_{n}.nii.gz" for n in (1013, 1036)),
    HEADS_T1: ("samples/head_t1.nii.gz", "elderly_heads/t1/Subj6.nii.gz"),
    HEADS_FLAIR: ("elderly_heads/flair/Subj6.nii.gz",),
    "body, MR": ("samples/example_mr_sm.nii.gz",),
    "breasts, MR": (
        "small_tests/dce_breast/UCSF-BR-06_time0.nii.gz",
        "small_tests/dce_breast/UCSF-BR-08_time2.nii.gz",
    ),
    "breasts, a map": ("small_tests/dce_breast/UCSF-BR-06_ser.nii.gz",),
    "chest, CT": ("small_tests/ct_angio/pulmonary_ct.nii.gz", "lung_ct/crops/LUNG1-001.nii.gz"),
    "limbs, CT": ("sts_petct/ct/STS_019.nii.gz",),
    "limbs, PET": ("sts_petct/pet/STS_019.nii.gz",),
}
RADIOGRAPHS = ("samples/cxr_monochrome.dcm",)
CROP_COUNT, HEART_COUNT = 2, 1


@dataclass(frozen=True)
class ForeignScan:
    """One input. name: of its file. kind: what it shows, the row of the table."""

    name: str
    kind: str
    read: Callable[[], Volume]

    @property
    def key(self) -> str:
        """Of this scan alone: a CT and a PET of one person have one name."""
        return f"{self.kind}: {self.name}"


def foreign_scans(data: Path, more: Sequence[tuple[str, Path]] = ()) -> Iterator[ForeignScan]:
    """All inputs, kind by kind. more: (kind, folder) of scans of one's own."""
    for kind, files in FILES.items():
        yield from _of_files(kind, [data / file for file in files])
    file = FILES[BRAINS][0]
    name = Path(file).name.removesuffix(".nii.gz")
    yield ForeignScan(name, THICK, partial(_in_thick_slices, data / file))
    crops = data / "hippocampus"
    names = _test_split(crops)[:CROP_COUNT]
    yield from _of_files(CROPS, [crops / "imagesTr" / f"{name}.nii.gz" for name in names])
    hearts = data / "acdc"
    for patient in _test_split(hearts)[:HEART_COUNT]:
        path = min(hearts.glob(f"{patient}_frame*.h5"))
        yield ForeignScan(path.stem, HEARTS, partial(_heart, path))
    yield from _of_files("chests, X-ray", [data / file for file in RADIOGRAPHS])
    for name, array in PHANTOMS.items():
        yield ForeignScan(name, "phantoms and noise", partial(_phantom, name, array))
    for kind, folder in more:
        yield from _of_files(kind, find_scans([folder]))


def _of_files(kind: str, paths: Sequence[Path]) -> Iterator[ForeignScan]:
    for path in paths:
        if not path.exists():
            raise UserError(f'There is no file "{path}"; give the folder of all data.')
        yield ForeignScan(path.name.removesuffix(".nii.gz"), kind, partial(_first_image, path))


def _first_image(path: Path) -> Volume:
    """A scan, or the first one of a series."""
    volume = load_volume(path)
    return volume if volume.array.ndim == 3 else volume.with_array(volume.array[0])


def _in_thick_slices(path: Path) -> Volume:
    """Means over slices along k, the third axis of the file."""
    scan = load_volume(path)
    return in_thick_slices(scan, np.zeros(scan.array.shape, np.uint8), 0)[0]


def _test_split(folder: Path) -> list[str]:
    text = (folder / "splits.json").read_text(encoding="utf-8")
    return [str(name) for name in json.loads(text)["test"]]


def _heart(path: Path) -> Volume:
    return read_hdf5(path)[0]


def _phantom(name: str, array: Callable[[], NDArray[np.float32]]) -> Volume:
    return Volume(array(), np.diag([2.0, 2.0, 2.0, 1.0]), name)


def _noise() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(90, 100, 90)).astype(np.float32)


def _bottle() -> NDArray[np.float32]:
    """A cylinder of water with a grid in it, as scanners are tested with."""
    k, j, i = np.indices((90, 100, 90))
    inside = ((j - 50) ** 2 + (i - 45) ** 2 < 40**2) & (k > 8) & (k < 82)
    grid = (j % 12 < 2) | (i % 12 < 2)
    return (inside * (100 - 60 * grid * (k > 45)) + _noise()).astype(np.float32)


def _ramp() -> NDArray[np.float32]:
    """The phantom of ../shared/cases: a ball in a ramp, 24 x 20 x 16 voxels."""
    k, j, i = np.indices((16, 20, 24))
    ball = 100 * ((i - 8) ** 2 + (j - 11) ** 2 + 2 * (k - 6) ** 2 < 40)
    return (ball + 5 * i + 3 * j + 20 * k + 50 * (i < 6)).astype(np.float32)


PHANTOMS = {"noise": _noise, "bottle": _bottle, "ball in a ramp": _ramp}
