"""FROC: how many lesions are found at how many false alarms an image.

Own code, as MONAI's `compute_froc_curve_data` leaves the lowest score out and its points omit 1/8.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

LUNA16_POINTS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)  # false positives an image


@dataclass(frozen=True)
class Finding:
    """One place that a detector points at. lesion: which lesion it hits; None for a false
    positive.
    """

    image: Hashable
    score: float
    lesion: Hashable | None = None


@dataclass(frozen=True)
class Froc:
    """false_positives: (n,) a image, rising from 0. sensitivity: (n,) the most that is found at
    so many. Both begin at (0, s).
    """

    false_positives: np.ndarray
    sensitivity: np.ndarray

    def at(self, points: Sequence[float] = LUNA16_POINTS) -> np.ndarray:
        """Sensitivity at so many false positives an image; between thresholds linear, beyond the
        last one constant (LUNA16).
        """
        return np.interp(points, self.false_positives, self.sensitivity)

    @property
    def score(self) -> float:
        """The mean sensitivity at LUNA16's seven points (its competition performance metric)."""
        return float(self.at().mean())


def froc(findings: Sequence[Finding], lesions: int, images: int) -> Froc:
    """The curve over all thresholds on the score.

    findings: of all images. lesions: how many there are in truth, found or not. images: how many
    were looked at, those without any finding included. A lesion counts as found once, by its
    highest score; further hits of it count as nothing. Source: Setio et al., Validation,
    comparison, and combination of algorithms for automatic detection of pulmonary nodules (LUNA16),
    Medical Image Analysis 2017.
    """
    if lesions < 1 or images < 1:
        raise ValueError(
            f"an FROC needs at least one lesion and one image, not {lesions} and {images}"
        )
    hits: dict[Hashable, float] = {}
    for each in findings:
        if each.lesion is not None:
            key = (each.image, each.lesion)
            hits[key] = max(hits.get(key, -np.inf), each.score)
    if len(hits) > lesions:
        raise ValueError(
            f"{len(hits)} different lesions are hit, and {lesions} are said to be there"
        )
    false = np.array([f.score for f in findings if f.lesion is None], float)
    true = np.array(list(hits.values()), float)
    thresholds = np.unique(np.concatenate([false, true]))[::-1]  # falling
    alarms = np.array([0, *((false >= t).sum() for t in thresholds)]) / images
    found = np.array([0, *((true >= t).sum() for t in thresholds)]) / lesions
    levels = np.unique(alarms)  # where the curve rises straight up, its top counts
    return Froc(levels, np.array([found[alarms == level].max() for level in levels]))
