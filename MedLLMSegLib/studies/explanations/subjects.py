"""The scans whose explanations are measured, one a person, and what is explained in each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import sub_grid
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data.acdc import read_hdf5
from MedLLMSegLib.evaluation.labelled_cases import labelled_cases
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.studies.brain_scans import VAL_SEED, synthetic_head

HIPPOCAMPUS, HEART, BRAIN = MODELS = ("hippocampus-t1", "cardiac-cine-mr", "brain-mr")
STRUCTURES = {
    HIPPOCAMPUS: ("left hippocampus",),
    HEART: ("right ventricle", "left ventricle (cavity)"),
    BRAIN: ("left hippocampus",),
}
LEFT_DEEP, BOX_VOX = (12, 17), 80  # putamen and hippocampus; voxels of 1 mm


@dataclass(frozen=True, eq=False)
class Subject:
    """One scan of one person. structures: names of what is explained in it."""

    person: str
    volume: Volume
    structures: tuple[str, ...]


def subjects(model: str, data: Path, split: str, most: int) -> Iterator[Subject]:
    """At most so many people of a split ("val" or "test"), in its order.

    data: the folder of all shared data. Of the hippocampus one crop a head, of the heart the full
    one, of the brain synthesised heads (val) and OASIS's brains (test). Raises `UserError`.
    """
    makers = {HIPPOCAMPUS: _hippocampi, HEART: _hearts, BRAIN: _brains}
    if model not in makers:
        raise UserError(f'There are no subjects for "{model}"; choose one of {", ".join(MODELS)}.')
    for number, (person, volume) in enumerate(makers[model](data, split)):
        if number == most:
            return
        yield Subject(person, volume, STRUCTURES[model])


def _listed(folder: Path, split: str) -> list[str]:
    try:
        text = (folder / "splits.json").read_text(encoding="utf-8")
        return list(json.loads(text)[split])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f'"{folder}" has no splits.json with a list "{split}"; give the folder of shared data.'
        ) from error


def _hippocampi(data: Path, split: str) -> Iterator[tuple[str, Volume]]:
    """Two crops are the sides of one head."""
    seen = set()
    for case in _listed(data / "hippocampus", split):
        head = (int(case.rpartition("_")[2]) + 1) // 2
        if head not in seen:
            seen.add(head)
            yield f"head {head}", load_volume(data / f"hippocampus/imagesTr/{case}.nii.gz")


def _hearts(data: Path, split: str) -> Iterator[tuple[str, Volume]]:
    """The first image of each patient is the end of diastole."""
    for patient in _listed(data / "acdc", split):
        first = sorted((data / "acdc").glob(f"{patient}_frame*.h5"))[0]
        yield patient, read_hdf5(first)[0]


def _brains(data: Path, split: str) -> Iterator[tuple[str, Volume]]:
    """A box of `BOX_VOX` around the left hippocampus and putamen of the labels: what a user has who
    limits the search to a region. A whole head would take a minute for each step of a curve.
    """
    if split == "val":
        maps = data / "brain_labelmaps"
        for number, name in enumerate(_listed(maps, "val") * 2):
            yield name, _around(*synthetic_head(maps, name, VAL_SEED + number))
        return
    labelled = labelled_cases(data / "oasis_brains", numbering="neuromorphometrics")
    for case in labelled.cases:
        if not case.id.endswith("1023"):  # the second scan of 1003
            volume = load_volume(case.image)
            yield case.group, _around(volume, labelled.truth(case, volume))


def _around(volume: Volume, labels: Array) -> Volume:
    places = np.argwhere(np.isin(labels, LEFT_DEEP))
    centre = (places.min(0) + places.max(0)) // 2
    starts = [
        int(np.clip(middle - BOX_VOX // 2, 0, max(0, length - BOX_VOX)))
        for middle, length in zip(centre, labels.shape, strict=True)
    ]
    k, j, i = (slice(start, start + BOX_VOX) for start in starts)
    array = np.ascontiguousarray(volume.array[k, j, i])
    grid = sub_grid(volume.grid, (k, j, i))
    return replace(volume, array=array, ijk_to_ras=grid.ijk_to_ras, forms=None)
