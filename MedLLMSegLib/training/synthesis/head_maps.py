"""Whole-head label maps as the generator needs them: tissues to paint, and classes to learn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MedLLMSegLib.anatomy.brain import BRAIN_STRUCTURES
from MedLLMSegLib.core.errors import UserError

NO_SIDE, LEFT, RIGHT = 0, 1, 2
FIRST_OUTSIDE = 500  # FreeSurfer's numbers from here on are of the head around the brain

# Odd numbers of the maps (design of the brain model): what is learnt where they stand. They keep a
# contrast of their own, so that lesions and vessels look like lesions and vessels.
IN_WHITE_MATTER = (
    25,
    57,
    77,
    30,
    62,
)  # lesions, hypointensities, vessels: left or right, the nearer
TO_NEAREST_LEFT = (136, 163)
TO_NEAREST_RIGHT = (137, 164)
CEREBRAL_WHITE_MATTER = (2, 41)
MIDLINE = (14, 15, 16, 24)
FIFTH_VENTRICLE = 72  # CSF
CHIASM = 85  # background: it is no part of the ventral diencephalon

LEFT_NUMBERS = tuple(s.left for s in BRAIN_STRUCTURES if s.paired)
RIGHT_NUMBERS = tuple(s.right for s in BRAIN_STRUCTURES if s.paired)


@dataclass(frozen=True, eq=False)
class HeadMap:
    """A head as labels at 1 mm, i to the right, j to the front, k up.

    tissues: uint8 [k, j, i], an index into `numbers`: what a voxel is painted as. Index 0 is air.
    structures: uint8 [k, j, i], 0 background, else 1 + the place in `BRAIN_STRUCTURES`.
    sides: uint8 [k, j, i], `LEFT` or `RIGHT` in paired structures, else `NO_SIDE`.
    numbers: FreeSurfer's number of each tissue; left and right are one tissue.
    centre_vox: (k, j, i) of the brain.
    """

    tissues: np.ndarray
    structures: np.ndarray
    sides: np.ndarray
    numbers: tuple[int, ...]
    centre_vox: tuple[float, float, float]


def split_names(folder: Path) -> dict[str, list[str]]:
    """{"train": [names], "val": [names]} of a folder's label maps; those of "test" are left to
    whoever measures.

    Raises `UserError` where the folder states none.
    """
    try:
        splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
        return {part: [str(name) for name in splits[part]] for part in ("train", "val")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'"{folder}" has no splits.json with the names of the label maps to train on ("train")'
            ' and to score ("val"); give the folder brain_labelmaps of the shared data.'
        ) from error


def label_map_file(folder: Path, stem: str) -> Path:
    """The file of a label map. Raises `UserError` where there is none."""
    for path in sorted(folder.glob(f"{stem}.*")):
        return path
    raise UserError(f'"{folder}" has no label map "{stem}", which its splits.json names.')


def load_head_map(path: str | Path) -> HeadMap:
    """Read a label map of FreeSurfer's numbers at 1 mm, of any orientation.

    Raises `ValueError` for numbers that neither `BRAIN_STRUCTURES` nor the odd ones above name.
    """
    labels = read_labels(path)
    return head_map(labels[head_box(labels)])


def read_labels(path: str | Path) -> np.ndarray:
    """A label map of any orientation as int16 [k, j, i], i to the right, j to the front, k up."""
    # ITK's world is LPS: an array in what it calls RAS runs to the right, to the front and up.
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "RAS")
    return sitk.GetArrayFromImage(image).astype(np.int16)


def head_box(labels: np.ndarray) -> tuple[slice, ...]:
    """The half-open box [k, j, i] around everything that is not air."""
    return tuple(ndimage.find_objects((labels > 0).astype(np.uint8))[0])


def head_map(labels: np.ndarray) -> HeadMap:
    """int16 [k, j, i] of FreeSurfer's numbers -> what the generator needs."""
    learnt = learnt_numbers(labels)
    structures = np.zeros(labels.shape, np.uint8)
    sides = np.zeros(labels.shape, np.uint8)
    for place, structure in enumerate(BRAIN_STRUCTURES, start=1):
        left, right = learnt == structure.left, learnt == structure.right
        structures[left | right] = place
        if structure.paired:
            sides[left], sides[right] = LEFT, RIGHT
    painted = labels.copy()
    for one, other in [*zip(LEFT_NUMBERS, RIGHT_NUMBERS, strict=True), (25, 57), (30, 62)]:
        painted[labels == other] = one
    numbers, tissues = np.unique(painted, return_inverse=True)
    brain = (learnt > 0) & (learnt < FIRST_OUTSIDE)
    return HeadMap(
        tissues.reshape(labels.shape).astype(np.uint8),
        structures,
        sides,
        tuple(int(n) for n in numbers),
        centre_of(brain),
    )


def centre_of(mask: np.ndarray) -> tuple[float, float, float]:
    """The centre of mass (k, j, i) of a mask, in voxels."""
    k, j, i = ndimage.center_of_mass(mask)
    return float(k), float(j), float(i)


def learnt_numbers(labels: np.ndarray) -> np.ndarray:
    """The numbers [k, j, i] that are learnt: odd ones exchanged, the head around the brain 0."""
    learnt = np.where(labels < FIRST_OUTSIDE, labels, 0).astype(np.int16)
    learnt[labels == FIFTH_VENTRICLE] = 24
    learnt[labels == CHIASM] = 0
    known = {n for s in BRAIN_STRUCTURES for n in (s.left, s.right)}
    for odd, wanted in (
        (IN_WHITE_MATTER, CEREBRAL_WHITE_MATTER),
        (TO_NEAREST_LEFT, (*LEFT_NUMBERS, *MIDLINE)),
        (TO_NEAREST_RIGHT, (*RIGHT_NUMBERS, *MIDLINE)),
    ):
        places = np.isin(labels, odd)
        if places.any():
            learnt[places] = nearest_of(labels, places, wanted)
    strange = sorted(set(np.unique(learnt).tolist()) - known - {0})
    if strange:
        raise ValueError(f"the label map has {strange}, which no structure of the brain stands for")
    return learnt


def nearest_of(labels: np.ndarray, places: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    """For each voxel of a mask, the nearest of the wanted numbers: (n,) in the mask's order."""
    missing = ~np.isin(labels, wanted)
    indices = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    return labels[tuple(axis[places] for axis in indices)]
