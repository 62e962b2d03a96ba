"""The heart in a segmented series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.metrics.heart_function import LEFT, RIGHT, WALL, Person
from MedLLMSegLib.metrics.heart_intervals import HeartIntervals
from MedLLMSegLib.metrics.measured_heart import MeasuredHeart, measure_heart
from MedLLMSegLib.metrics.wall_thickness import HeartLabels

from .time_series import SeriesSegmentation


def measure_series(
    series: SeriesSegmentation,
    person: Person | None = None,
    intervals: HeartIntervals | None = None,
) -> MeasuredHeart:
    """The heart in a segmented series. Raises `UserError` as `measure_heart`.

    intervals: of the model (`heart_intervals.intervals_of`); left out where an image lies outside
    its domain.
    """
    maps = [segmentation.labels for segmentation in series.segmentations]
    heart = measure_heart(maps, numbers_of(series.structures), person)
    if any(each.domain is not None and each.domain.outside for each in series.segmentations):
        return heart
    return replace(heart, function=replace(heart.function, intervals=intervals))


def numbers_of(structures: Sequence[Structure]) -> HeartLabels:
    """The labels of the heart's parts among a model's structures. Raises `UserError` where one is
    missing.
    """
    by_key = {structure.key: structure.label for structure in structures}
    missing = [key for key in (RIGHT, WALL, LEFT) if key not in by_key]
    if missing:
        raise UserError(
            f"The model has no structure {missing[0].replace('_', ' ')}; choose a model of both"
            " ventricles and the left one's wall, such as cardiac-cine-mr."
        )
    return HeartLabels(by_key[RIGHT], by_key[WALL], by_key[LEFT])
