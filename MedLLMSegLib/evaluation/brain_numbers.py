"""Label maps of the brain in another numbering, with FreeSurfer's numbers instead."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import ndimage

from MedLLMSegLib.anatomy.numberings import NUMBERINGS, Numbering, numbering_of_names
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array

NAMES_FILE = "labels.json"  # number -> name, beside the images and labels of a data set


def to_freesurfer(labels: Array, numbering: Numbering, spacing_mm: tuple[float, ...]) -> Array:
    """A label map [k, j, i] with FreeSurfer's numbers, uint8.

    spacing_mm: along (k, j, i), for what takes the nearest structure's number. Raises `UserError`
    for a number that the numbering does not have.
    """
    numbers = [int(n) for n in np.unique(labels)]
    unknown = [n for n in numbers if not numbering.knows(n)]
    if unknown:
        raise UserError(
            f"The label map has the number {unknown[0]}, which the numbering"
            f' "{numbering.name}" does not have; choose another with --labels'
            f" ({', '.join(NUMBERINGS)}), or correct the map."
        )
    table = np.zeros(max(numbers[-1], 0) + 1, np.uint8)
    for number, freesurfer in numbering.structures.items():
        if number < len(table):
            table[number] = freesurfer
    found: Array = table[labels]
    known = found.copy()
    for wanted in dict.fromkeys(numbering.nearest[n] for n in numbers if n in numbering.nearest):
        parts = [n for n in numbers if numbering.nearest.get(n) == wanted]
        places = np.isin(labels, parts)
        found[places] = _nearest(known, places, wanted, spacing_mm)
    return found


def _nearest(
    labels: Array, places: Array, wanted: tuple[int, ...], spacing_mm: tuple[float, ...]
) -> Array:
    """For each voxel of a mask, the nearest of the wanted numbers; 0 where the map has none."""
    others = ~np.isin(labels, wanted)
    if others.all():
        return np.zeros(int(places.sum()), np.uint8)
    nearest = ndimage.distance_transform_edt(
        others, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    return labels[tuple(axis[places] for axis in nearest)]


def chosen_numbering(name: str | None, data: Path) -> Numbering | None:
    """The numbering by its name, or else that of the data's labels.json; None for neither.

    Raises `UserError` for a name that is none of `NUMBERINGS`.
    """
    if name is not None:
        if name not in NUMBERINGS:
            raise UserError(
                f'"{name}" is no numbering of the brain; choose one of {", ".join(NUMBERINGS)}.'
            )
        return NUMBERINGS[name]
    path = data / NAMES_FILE
    if not path.is_file():
        return None
    try:
        names = {int(number): str(name) for number, name in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f'"{path}" is no list of label names ({{"17": "Left-Hippocampus"}}); correct it, or'
            " remove it and say the numbering with --labels."
        ) from error
    return numbering_of_names(names)
