"""Outlines -> the maps on the scan's own grid: labels, confidence, and what else was asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.quality import Certainty
from MedLLMSegLib.registry.segmenter_settings import largest_part_rule

from .clean import keep_largest
from .loaded_segmenter import SegmenterModel
from .outline import Outline
from .restore import restore_slabs
from .result_maps import ResultMaps
from .uncertainty import entropy
from .way_back import Found, find_on_scan

DOUBTFUL = 0.75  # a voxel of which the network is less sure


def finish(maps: ResultMaps, outline: Outline, model: SegmenterModel, progress: Progress) -> None:
    """Bring one outline back to the scan, clean it, and add it to the maps."""
    found = find_on_scan(outline.scores, outline.way_back, progress)
    label_of_number = model.label_of_number(outline.side)
    _add_labels(maps, found, label_of_number, _rule(model))
    if outline.probabilities is not None and maps.need_all_classes:
        _add_class_maps(maps, outline, label_of_number)


def _rule(model: SegmenterModel) -> str | None:
    """Which parts stay: an organ in a crop is one piece."""
    return "together" if model.anatomy else largest_part_rule(model.settings)


def _add_labels(
    maps: ResultMaps, found: Found, label_of_number: NDArray[np.uint8], rule: str | None
) -> None:
    labels = np.empty(found.numbers.shape, np.uint8)
    for plane, numbers in zip(labels, found.numbers, strict=True):
        np.take(label_of_number, numbers, out=plane)
    if rule:
        labels = keep_largest(labels, rule)
    counts, sums, doubtful = np.zeros(256), np.zeros(256), np.zeros(256)
    for place, plane, certainty in zip(
        maps.labels[found.box], labels, found.certainty, strict=True
    ):
        np.copyto(place, plane, where=plane > 0)
        counts += np.bincount(plane.ravel(), minlength=256)
        sums += np.bincount(plane.ravel(), weights=certainty.ravel(), minlength=256)
        doubtful += np.bincount(plane[certainty < DOUBTFUL], minlength=256)
    around = (counts[0] - sums[0]) / max(1.0, counts[1:].sum())
    for label in np.flatnonzero(counts[1:]) + 1:
        mean, share = sums[label] / counts[label], doubtful[label] / counts[label]
        maps.confidence[int(label)] = float(mean)
        maps.certainty[int(label)] = Certainty(float(mean), float(share), float(around))


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
