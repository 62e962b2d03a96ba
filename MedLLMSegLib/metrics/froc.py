"""FROC: the sensitivity for lesions against the number of false positives an image.

This is our own code because MONAI's `compute_froc_curve_data` drops the lowest score, and its
operating points omit 1/8.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MedLLMSegLib.core.types import Array

from .group_statistics import NAN, expanded_percentiles

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


def froc_intervals(
    findings: Sequence[Finding],
    lesions: Mapping[Hashable, int],
    points: Sequence[float] = LUNA16_POINTS,
    over: str = "images",
    repeats: int = 2000,
    seed: int = 0,
) -> Array:
    """The 95 % interval of `Froc.at` at each point: (points, 2), low and high.

    lesions: image -> how many are in truth there, 0 included. over: "images" draws whole images
    with their lesions and false positives, and is what to take where each is another patient;
    "lesions" draws the lesions and keeps all false positives, where there is only one patient, and
    so says nothing of other patients. NaN for fewer than two of what is drawn.
    """
    if over not in ("images", "lesions"):
        raise ValueError(f'intervals are over "images" or "lesions", not "{over}"')
    total = sum(lesions.values())
    froc(findings, total, len(lesions))  # refuses what cannot be counted
    count = len(lesions) if over == "images" else total
    if count < 2:
        return np.full((len(points), 2), NAN)
    rng = np.random.default_rng(seed)
    draw = _drawn_images if over == "images" else _drawn_lesions
    draws = np.array([draw(findings, lesions, rng).at(points) for _ in range(repeats)])
    return np.array([expanded_percentiles(at_point, count) for at_point in draws.T])


def _drawn_images(
    findings: Sequence[Finding], lesions: Mapping[Hashable, int], rng: np.random.Generator
) -> Froc:
    """The curve of as many images as there are, drawn with replacement, of which one at least has a
    lesion.
    """
    names = list(lesions)
    drawn = rng.integers(0, len(names), len(names))
    while not any(lesions[names[n]] for n in drawn):
        drawn = rng.integers(0, len(names), len(names))
    of_image: dict[Hashable, list[Finding]] = {name: [] for name in names}
    for finding in findings:
        of_image[finding.image].append(finding)
    copies = [
        replace(finding, image=(copy, finding.image))
        for copy, n in enumerate(drawn)
        for finding in of_image[names[n]]
    ]
    return froc(copies, sum(lesions[names[n]] for n in drawn), len(names))


def _drawn_lesions(
    findings: Sequence[Finding], lesions: Mapping[Hashable, int], rng: np.random.Generator
) -> Froc:
    """The curve of as many lesions, drawn with replacement, beside all false positives."""
    hits = _best_scores(findings)
    total = sum(lesions.values())
    scores = np.array([*hits.values(), *[-np.inf] * (total - len(hits))])
    drawn = scores[rng.integers(0, total, total)]
    false = [finding for finding in findings if finding.lesion is None]
    found = [Finding("", score, n) for n, score in enumerate(drawn) if np.isfinite(score)]
    return froc([*false, *found], total, len(lesions))


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
