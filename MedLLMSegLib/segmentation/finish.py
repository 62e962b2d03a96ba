"""Outlines -> the maps on the scan's own grid: labels, confidence, and what else was asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.registry.segmenter_settings import largest_part_rule

from .found import add_labels
from .loaded_segmenter import SegmenterModel
from .outline import Outline
from .restore import restore_slabs
from .result_maps import ResultMaps
from .uncertainty import entropy
from .way_back import find_on_scan


def finish(maps: ResultMaps, outline: Outline, model: SegmenterModel, progress: Progress) -> None:
    """Bring one outline back to the scan, clean it, and add it to the maps."""
    found = find_on_scan(outline.scores, outline.way_back, progress)
    label_of_number = model.label_of_number(outline.side)
    add_labels(maps, found, label_of_number, _rule(model))
    if outline.probabilities is not None and maps.need_all_classes:
        _add_class_maps(maps, outline, label_of_number)


def _rule(model: SegmenterModel) -> str | None:
    """Which parts stay: an organ in a crop is one piece."""
    return "together" if model.anatomy else largest_part_rule(model.settings)


def _add_class_maps(maps: ResultMaps, outline: Outline, label_of_number: NDArray[np.uint8]) -> None:
    """Probabilities and uncertainty, slab by slab."""
    assert outline.probabilities is not None
    channel = {label: place for place, label in enumerate(maps.confidence)}
    reading = outline.reading
    for values, box in restore_slabs(outline.probabilities, outline.way_back):
        probabilities = reading.probabilities(values)  # (numbers, k, j, i)
        if maps.uncertainty is not None:
            unsure = entropy(probabilities, reading.possible_numbers)
            np.maximum(maps.uncertainty[box], unsure, out=maps.uncertainty[box])
        if maps.probabilities is None:
            continue
        for number, probability in enumerate(probabilities):
            if label_of_number[number]:
                own = maps.probabilities[(channel[int(label_of_number[number])], *box)]
                np.maximum(own, probability, out=own)
