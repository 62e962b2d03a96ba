"""A heart measured from the label maps of its images over a beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume

from .heart_function import LEFT, RIGHT, WALL, HeartFunction, Person, heart_function
from .wall_thickness import HeartLabels, wall_thickness_mm


@dataclass(frozen=True, eq=False)
class MeasuredHeart:
    """thickness_mm: (2, 17) at end-diastole and end-systole, in the order of
    `wall_thickness.SEGMENTS`, NaN where unknown; None where the wall could not be measured.
    notes: those of function and wall.
    """

    function: HeartFunction
    thickness_mm: NDArray[np.float64] | None
    notes: tuple[str, ...]


def measure_heart(
    maps: Sequence[Volume], numbers: HeartLabels | None = None, person: Person | None = None
) -> MeasuredHeart:
    """The heart in label maps [k, j, i], one an image in order of time over one beat.

    Raises `UserError` where there is too little of a left ventricle (`heart_function`).
    """
    numbers = numbers or HeartLabels()
    label_of = {
        RIGHT: numbers.right_ventricle,
        WALL: numbers.myocardium,
        LEFT: numbers.left_ventricle,
    }
    curves = {
        key: [float((each.array == label).sum() * each.grid.voxel_ml) for each in maps]
        for key, label in label_of.items()
    }
    function = heart_function(curves, person)
    notes, thickness = list(function.notes), None
    try:
        thickness = np.stack(
            [
                wall_thickness_mm(maps[image].array, maps[image].grid, numbers)
                for image in (function.end_diastole, function.end_systole)
            ]
        )
    except UserError as error:
        notes.append(f"The wall's thickness is not available. {error}")
    return MeasuredHeart(function, thickness, tuple(notes))
