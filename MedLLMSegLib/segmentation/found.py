"""What was found within a box of the scan, and how it goes into the result. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.geometry import Box
from MedLLMSegLib.core.quality import Certainty

from .clean import keep_largest
from .result_maps import ResultMaps

DOUBTFUL = 0.75  # a voxel of which the network is less sure


@dataclass(frozen=True, eq=False)
class Found:
    """What was found within a box of the scan; around it all is background.

    box: half-open, voxels (k, j, i). numbers: uint8 [k, j, i] of winners (`Reading`). certainty:
    float16 [k, j, i], the probability of the winning class.
    """

    box: Box
    numbers: NDArray[np.uint8]
    certainty: NDArray[np.float16]


def add_labels(
    maps: ResultMaps, found: Found, label_of_number: NDArray[np.uint8], rule: str | None
) -> None:
    """Add what was found to the labels, and to what is known of their certainty.

    label_of_number: of each number of a winner. rule: which parts stay (`clean.keep_largest`); None
    for all.
    """
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
