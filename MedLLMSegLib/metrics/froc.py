"""FROC: the sensitivity for lesions against the number of false positives an image.

This is our own code because MONAI's `compute_froc_curve_data` drops the lowest score, and its
operating points omit 1/8.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.types import Array

LUNA16_POINTS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)  # false positives an image


@dataclass(frozen=True)
class Finding:
    """One place that a detector points at. lesion: the one it hits; None for a false positive."""

    image: Hashable
    score: float
    lesion: Hashable | None = None


@dataclass(frozen=True)
class Froc:
    """An FROC curve, which begins at (0, s).

    false_positives: (n,) an image, rising from 0. sensitivity: (n,) the largest at each of them.
    """

    false_positives: Array
    sensitivity: Array

    def at(self, points: Sequence[float] = LUNA16_POINTS) -> Array:
        """Sensitivity at numbers of false positives an image.

        Linear between thresholds, constant beyond the last one (as LUNA16 does).
        """
        sensitivity: Array = np.interp(points, self.false_positives, self.sensitivity)
        return sensitivity

    @property
    def score(self) -> float:
        """The mean sensitivity at LUNA16's seven points (its competition performance metric)."""
        return float(self.at().mean())


def froc(findings: Sequence[Finding], lesions: int, images: int) -> Froc:
    """The curve over all thresholds on the score.

    findings: of all images. lesions: the number in truth, found or not. images: the number
    examined, including those without findings. A lesion counts as found once, by its highest score;
    further hits of it are ignored. Source: Setio et al., Validation, comparison, and combination of
    algorithms for automatic detection of pulmonary nodules (LUNA16), Medical Image Analysis 2017.
    """
    if lesions < 1 or images < 1:
        raise ValueError(
            f"an FROC needs at least one lesion and one image, not {lesions} and {images}"
        )
    best_scores: dict[Hashable, float] = {}
    for finding in findings:
        if finding.lesion is not None:
            key = (finding.image, finding.lesion)
            best_scores[key] = max(best_scores.get(key, -np.inf), finding.score)
    if len(best_scores) > lesions:
        raise ValueError(
            f"{len(best_scores)} different lesions are hit, but only {lesions} are stated"
        )
    false_scores = np.array([f.score for f in findings if f.lesion is None], float)
    true_scores = np.array(list(best_scores.values()), float)
    thresholds = np.unique(np.concatenate([false_scores, true_scores]))[::-1]  # falling
    false_positives = _counts_from(thresholds, false_scores) / images
    sensitivity = _counts_from(thresholds, true_scores) / lesions
    levels = np.unique(false_positives)  # where the curve rises straight up, its top counts
    tops = np.array([sensitivity[false_positives == level].max() for level in levels])
    return Froc(levels, tops)


def _counts_from(thresholds: Array, scores: Array) -> Array:
    """How many scores reach each threshold, with a 0 in front: (thresholds + 1,)."""
    return np.array([0, *((scores >= threshold).sum() for threshold in thresholds)])
