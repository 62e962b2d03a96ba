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
    best_scores = _best_scores(findings)
    if len(best_scores) > lesions:
        raise ValueError(
            f"{len(best_scores)} different lesions are hit, but only {lesions} are stated"
        )
    false_scores = np.array([f.score for f in findings if f.lesion is None], float)
    true_scores = np.array(list(best_scores.values()), float)
    thresholds = np.unique(np.concatenate([false_scores, true_scores]))[::-1]  # falling
    false_positives = _counts_from(thresholds, false_scores) / images
    sensitivity = _counts_from(thresholds, true_scores) / lesions
    # Where the curve rises straight up, its top counts: the last, as both only rise.
    last = np.append(np.diff(false_positives) > 0, True)
    levels, tops = false_positives[last], sensitivity[last]
    return Froc(levels, tops)


def allowed_false(rate: float, scans: int) -> int:
    """How many false positives all scans may have together, at so many a scan."""
    return int(np.floor(rate * scans + 1e-9))


def found_at(scores: Sequence[float], false: Sequence[float], rate: float, scans: int) -> Array:
    """(lesions,) 1.0 where a lesion is found with at most `rate` false positives a scan, so that
    intervals can be drawn over lesions.

    scores: the highest of each lesion; -inf for one that nothing hits. false: the scores of all
    false positives of all scans, or at least of the highest `allowed_false` + 1. A lesion must be
    above the first false positive that is too many: equal scores fall together, as in `froc`, of
    which this is the step without the line to the next one.
    """
    allowed = allowed_false(rate, scans)
    falling = np.sort(np.asarray(false, float))[::-1]
    threshold = falling[allowed] if len(falling) > allowed else -np.inf
    found: Array = (np.asarray(scores, float) > threshold).astype(float)
    return found


def _best_scores(findings: Sequence[Finding]) -> dict[Hashable, float]:
    """(image, lesion) -> the highest score of those that hit it."""
    best: dict[Hashable, float] = {}
    for finding in findings:
        if finding.lesion is not None:
            key = (finding.image, finding.lesion)
            best[key] = max(best.get(key, -np.inf), finding.score)
    return best


def _counts_from(thresholds: Array, scores: Array) -> Array:
    """How many scores reach each threshold, with a 0 in front: (thresholds + 1,)."""
    below = np.searchsorted(np.sort(scores), thresholds, side="left")
    return np.concatenate([[0], len(scores) - below])
