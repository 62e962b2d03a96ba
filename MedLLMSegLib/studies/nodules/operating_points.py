"""Which nodules are found at a number of false positives a scan, so that intervals can be drawn
over nodules; the curve itself is `metrics.froc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.metrics import froc

SCANS = 4
# A single false positive in four scans is 1/4: below it nothing can be counted.
POINTS = tuple(point for point in froc.LUNA16_POINTS if point >= 1 / SCANS)


@dataclass(frozen=True)
class Answers:
    """What a detector says of some scans.

    nodules: rows as `trial.tried` writes them, with "score" None for one that no candidate hits.
    false: the scores of all candidates that hit nothing, in the scans as they are. scans: how many
    they are. in_copies: the same for each copy with inserted nodules.
    """

    nodules: Sequence[Json]
    false: Sequence[float]
    scans: int
    groups: Sequence[str] = field(default=())
    in_copies: Sequence[Sequence[float]] = field(default=())


def answers_of(runs: Sequence[Json]) -> Answers:
    """Those of an arm's folds, all copies of all scans together, with one threshold.

    False positives are those of the scans themselves: their copies share one background, so that
    one place would be counted in each of them.
    """
    scans = [scan for run in runs for scan in run["scans"].values()]
    nodules = [row for scan in scans for row in scan["nodules"]]
    false = [score for scan in scans for score in scan["alone"]]
    copies = [copy for scan in scans for copy in scan["false"]]
    return Answers(nodules, false, len(scans), [row["patient"] for row in nodules], copies)


def found_at(answers: Answers, rate: float) -> Array:
    """Whether each nodule is found at a rate of false positives, 0 or 1 (n,)."""
    scores = [-np.inf if row["score"] is None else row["score"] for row in answers.nodules]
    return froc.found_at(scores, answers.false, rate, answers.scans)


def false_a_copy(answers: Answers, rate: float) -> float:
    """False positives a copy, at the threshold that leaves `rate` in a scan without nodules."""
    scores = [score for copy in answers.in_copies for score in copy]
    reached = froc.found_at(scores, answers.false, rate, answers.scans)
    return float(reached.sum()) / len(answers.in_copies)


def mean_found(answers: Answers) -> Array:
    """The share of `POINTS` at which each nodule is found (n,); its mean is the score."""
    each: Array = np.mean([found_at(answers, rate) for rate in POINTS], axis=0)
    return each


def curve_of(answers: Answers) -> froc.Froc:
    """The whole curve."""
    hits = [
        froc.Finding(0, row["score"], n)
        for n, row in enumerate(answers.nodules)
        if row["score"] is not None
    ]
    alarms = [froc.Finding(0, score) for score in answers.false]
    return froc.froc([*hits, *alarms], len(answers.nodules), answers.scans)
