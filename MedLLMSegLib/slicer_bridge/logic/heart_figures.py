"""A heart's function from the volumes that were found in the images of a sequence."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.metrics.heart_function import (
    LEFT,
    RIGHT,
    WALL,
    HeartFunction,
    Person,
    heart_function,
)
from MedLLMSegLib.metrics.heart_intervals import HeartIntervals, intervals_of
from MedLLMSegLib.registry.catalogue import find_model
from MedLLMSegLib.slicer_bridge.scene.segments import Row

from .image_segmentation import SegmentJobOptions


def known_intervals(
    options: SegmentJobOptions, verdicts: Sequence[DomainVerdict | None]
) -> HeartIntervals | None:
    """The intervals that were measured of the chosen model; None where there are none, where an
    image lies outside its domain, and where it ran in another way than it was measured: also a
    model that was handed over loaded, which may have been changed since.

    verdicts: of each image.
    """
    another_way = options.augment or options.region is not None or options.structures
    is_named = isinstance(options.model, str | os.PathLike)
    if (
        another_way
        or not is_named
        or any(verdict is not None and verdict.outside for verdict in verdicts)
    ):
        return None
    try:
        return intervals_of(find_model(options.model).folder)
    except UserError:  # the worker has the model, and says what is wrong with it
        return None


def heart_of(
    rows: Mapping[str, Sequence[Row]],
    structures: Sequence[Structure],
    person: Person | None = None,
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
