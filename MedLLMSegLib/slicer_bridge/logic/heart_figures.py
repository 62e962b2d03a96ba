"""A heart's function from the volumes that were found in the images of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.metrics.heart_function import (
    LEFT,
    RIGHT,
    WALL,
    HeartFunction,
    Person,
    heart_function,
)
from MedLLMSegLib.slicer_bridge.scene.segments import Row


def heart_of(
    rows: Mapping[str, Sequence[Row]], structures: Sequence[Structure], person: Person | None = None
) -> HeartFunction | None:
    """The heart's function; None where both ventricles and the wall were not all looked for.

    rows: index value -> the structures that were found in that image, in order of time.
    structures: all that were looked for. Raises `UserError` as `heart_function`.
    """
    names = {structure.key: structure.name for structure in structures}
    if not {LEFT, WALL, RIGHT} <= names.keys():
        return None
    found = [{name: volume_ml for name, volume_ml, _ in item_rows} for item_rows in rows.values()]
    volumes = {
        key: [volumes_ml.get(names[key], 0.0) for volumes_ml in found]
        for key in (LEFT, WALL, RIGHT)
    }
    return heart_function(volumes, person)
