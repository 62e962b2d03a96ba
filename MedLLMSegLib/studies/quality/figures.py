"""What a fitted quality is worth on persons that had no part in it: how well a low Dice is told,
also against the mean confidence alone, and how often an interval holds the true volume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_curve

from MedLLMSegLib.core.quality import LIGHTS
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.metrics.auc_difference import auc_difference
from MedLLMSegLib.metrics.classification import area_under_roc
from MedLLMSegLib.metrics.classification_intervals import (
    Estimate,
    bootstrap_auc,
    bootstrap_weights,
    finite_interval,
)
from MedLLMSegLib.metrics.conformal import Interval, coverage
from MedLLMSegLib.segmentation.quality.assess import judge_all
from MedLLMSegLib.segmentation.quality.fitted import QualityFit
from MedLLMSegLib.segmentation.quality.light import DOUBTFUL_DICE, dice_limits

from .fit import Point
from .measure import Row

REPEATS = 2000
CURVE_POINTS = 40
FEW = 8  # structures, each with a row of its own


@dataclass(frozen=True, eq=False)
class Answers:
    """What a fit says of each structure of each scan, (n,) each.

    dice: the true one. expected, confidence: 0 where nothing was found. persons: whose scan.
    """

    points: tuple[Point, ...]
    dice: Array
    expected: Array
    confidence: Array
    persons: tuple[str, ...]

    @classmethod
    def of(cls, points: Sequence[Point], fit: QualityFit) -> Answers:
        """Of the structures that the fit knows."""
        known = [p for p in points if p.key in fit.structures]
        return cls(
            tuple(known),
            np.array([p.dice for p in known]),
            np.array([_expected(p, fit) for p in known]),
            np.array([p.confidence for p in known]),
            tuple(p.person for p in known),
        )

    @property
    def bad(self) -> Array:
        """(n,) 1 where the Dice is under 0.8."""
        return (self.dice < DOUBTFUL_DICE).astype(int)

    def where(self, mask: Array) -> Answers:
        """The same of some."""
        chosen = np.flatnonzero(mask)
        return Answers(
            tuple(self.points[n] for n in chosen),
            self.dice[chosen],
            self.expected[chosen],
            self.confidence[chosen],
            tuple(self.persons[n] for n in chosen),
        )


def _expected(point: Point, fit: QualityFit) -> float:
    if point.features is None:
        return 0.0
    dice = fit.expected_dice(point.key, point.features)
    return 0.0 if dice is None else dice


def auroc(answers: Answers, score: Array) -> Estimate:
    """Of "Dice under 0.8" by a score that falls where the Dice does, with an interval over
    persons.
    """
    truth, two = answers.bad, as_probabilities(score)
    if not 0 < truth.sum() < len(truth):
        return Estimate(math.nan)
    weights = bootstrap_weights(answers.persons, REPEATS)
    value = area_under_roc(truth, two)
    if weights is None:
        return Estimate(value)
    return Estimate(value, *finite_interval(bootstrap_auc(truth, two, weights), answers.persons))


def roc_points(answers: Answers, score: Array) -> list[list[float]]:
    """The curve of "Dice under 0.8" by a score, as at most `CURVE_POINTS` of (false-positive rate,
    sensitivity); [] with one class only.
    """
    if not 0 < answers.bad.sum() < len(answers.bad):
        return []
    false_positive_rate, sensitivity, _thresholds = roc_curve(answers.bad, -score)
    chosen = np.unique(np.linspace(0, len(sensitivity) - 1, CURVE_POINTS).round().astype(int))
    return [
        [round(float(false_positive_rate[n]), 4), round(float(sensitivity[n]), 4)] for n in chosen
    ]


def as_probabilities(score: Array) -> Array:
    """(n, 2) in the order of which the second says how bad it is."""
    return np.stack([score, -score], axis=1)


def auroc_row(answers: Answers) -> Json:
    """Both AUROCs and their paired difference, with intervals over persons."""
    row: Json = {
        "structures": len(answers.dice),
        "persons": len(set(answers.persons)),
        "bad_share": round(float(answers.bad.mean()), 4) if len(answers.dice) else None,
        "expected": auroc(answers, answers.expected).to_dict(),
        "confidence": auroc(answers, answers.confidence).to_dict(),
        "off": round(float(np.abs(answers.expected - answers.dice).mean()), 4)
        if len(answers.dice)
        else None,
    }
    if 0 < answers.bad.sum() < len(answers.bad):
        found = auc_difference(
            answers.bad,
            [as_probabilities(answers.expected)],
            [as_probabilities(answers.confidence)],
            answers.persons,
            REPEATS,
        )
        row["difference"] = {
            **Estimate(found.value, found.low, found.high).to_dict(),
            "p": round(found.p, 5) if math.isfinite(found.p) else None,
        }
    return row


def coverage_row(answers: Answers, fit: QualityFit) -> Json:
    """How many intervals there are, how often they hold the true volume (a mean over persons), and
    how far their ends are from what was found, as a factor in the median.
    """
    intervals, true, persons, factors = [], [], [], []
    for point, expected in zip(answers.points, answers.expected, strict=True):
        if expected < dice_limits(fit.structures[point.key].usual_dice)[1]:  # a red one has none
            continue
        ends = fit.interval_ml(point.key, point.found_ml, float(expected))
        if ends is None or point.found_ml <= 0:
            continue
        intervals.append(Interval(*ends))
        true.append(point.true_ml)
        persons.append(point.person)
        factors.append(ends[1] / point.found_ml)
    held = coverage(intervals, true, persons) if intervals else math.nan
    return {
        "intervals": len(intervals),
        "of": len(answers.points),
        "persons": len(set(persons)),
        "coverage": None if math.isnan(held) else round(held, 4),
        "factor": round(float(np.median(factors)), 4) if factors else None,
    }


def light_counts(rows: Sequence[Row], structures: Sequence[Structure], fit: QualityFit) -> Json:
    """How many structures of the scans have which light: those with a Dice of 0.8 or more ("good")
    and under it ("bad"), in scans as they are and in corrupted ones.

    structures: of the model; where it has two sides, those that a row speaks of are taken.
    """
    counts: Json = {
        f"{state} {worth}": dict.fromkeys(LIGHTS, 0)
        for state in ("plain", "corrupted")
        for worth in ("good", "bad")
    }
    for row in rows:
        sides = {s.side for s in structures if s.label in {m.label for m in row.structures}}
        own = [s for s in structures if s.side in sides]
        lights = judge_all(row.shapes, row.certainty, own, fit).structures
        state = "corrupted" if row.corruption.kind else "plain"
        for m in row.structures:
            if m.label in lights:
                worth = "bad" if m.dice < DOUBTFUL_DICE else "good"
                counts[f"{state} {worth}"][lights[m.label].light] += 1
    return counts


def within(each: Sequence[Answers]) -> Json:
    """Both AUROCs within a structure, in the mean of those that have both outcomes: which
    structures are difficult, a user knows without us.
    """
    both = [own for own in each if 0 < own.bad.sum() < len(own.bad)]
    found: Json = {"structures": len(both)}
    for name in ("expected", "confidence"):
        areas = [area_under_roc(own.bad, as_probabilities(getattr(own, name))) for own in both]
        found[name] = round(float(np.mean(areas)), 4) if areas else None
    return found


def all_figures(points: Sequence[Point], fit: QualityFit, level: int) -> Json:
    """The figures of a model on its test persons, up to the level of corruption of the fit."""
    answers = Answers.of([p for p in points if p.corruption.level <= level], fit)
    plain = np.array([not p.corruption.kind for p in answers.points])
    new = np.array([p.corruption.is_new for p in answers.points])
    keys = np.array([p.key for p in answers.points])
    each = {key: answers.where(keys == key) for key in fit.structures}
    return {
        "level": level,
        "all": auroc_row(answers),
        "known": auroc_row(answers.where(~new)),
        "new": auroc_row(answers.where(new | plain)),
        "within": within(list(each.values())),
        "by_structure": {key: auroc_row(own) for key, own in each.items()}
        if len(each) <= FEW
        else {},
        "roc": {
            "expected": roc_points(answers, answers.expected),
            "confidence": roc_points(answers, answers.confidence),
        },
        "coverage": coverage_row(answers, fit),
        "coverage_plain": coverage_row(answers.where(plain), fit),
    }
