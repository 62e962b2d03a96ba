"""Fit what a model may expect of its own outlines: the Dice from the features of a result, and how
far a volume may be off.

The logit of the Dice is a line in each feature, as steep for all structures of a model and never
rising with a feature (ridge regression with slopes of one sign). Every structure starts from a
level of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.metrics.conformal import conformal_quantile, relative_scores
from MedLLMSegLib.segmentation.quality.features import Features, features_of
from MedLLMSegLib.segmentation.quality.fitted import (
    QualityFit,
    StructureFit,
    error_scale,
    logit_of_dice,
)
from MedLLMSegLib.segmentation.quality.light import DOUBTFUL_DICE, dice_limits
from MedLLMSegLib.segmentation.quality.norms import Norms

from .corruptions import LEVELS, Corruption
from .measure import Row

PENALTY = 0.02  # of a slope's square, for each point, of features in their standard deviations
SHARE_BAD = 1 / 3  # of the structures that fall under `DOUBTFUL_DICE`
FEWEST_POINTS = 8  # of a structure, for a level of its own


@dataclass(frozen=True)
class Point:
    """One structure of one scan. key: of the structure, without side. features: None where it was
    not found.
    """

    key: str
    subject: str
    person: str
    corruption: Corruption
    dice: float
    true_ml: float
    found_ml: float
    confidence: float
    features: Features | None


def points_of(rows: Iterable[Row], structures: Sequence[Structure], norms: Norms) -> list[Point]:
    """All structures of all rows that were not refused."""
    key_of = {s.label: s.sideless_key for s in structures}
    points = []
    for row in rows:
        features = features_of(row.shapes, row.certainty, structures, norms)
        for m in row.structures:
            if key_of.get(m.label) not in norms.structures:
                continue
            points.append(
                Point(
                    key_of[m.label],
                    row.subject,
                    row.person,
                    row.corruption,
                    m.dice,
                    m.true_ml,
                    m.shape.volume_ml if m.shape else 0.0,
                    m.certainty.mean if m.certainty else 0.0,
                    features.get(m.label),
                )
            )
    return points


def worst_level(points: Sequence[Point]) -> int:
    """The level of corruption up to which about a third of the structures are under 0.8."""

    def distance(level: int) -> float:
        bad = [p.dice < DOUBTFUL_DICE for p in points if p.corruption.level <= level]
        return abs(float(np.mean(bad)) - SHARE_BAD)

    return min(range(1, LEVELS + 1), key=distance)


def fit_quality(points: Sequence[Point], norms: Norms) -> QualityFit:
    """Fit a model's quality.

    points: of persons that the network was not trained on. Raises `UserError` for too few.
    """
    found = [p for p in points if p.features is not None]
    if len({p.person for p in found}) < 2:
        raise UserError(
            "The quality of a model is fitted on scans of at least two persons that it was not"
            " trained on, and there are fewer; add cases to the val split."
        )
    line = fit_line(found)
    scores: dict[str, list[tuple[float, str]]] = {}
    for person in sorted({p.person for p in found}):
        other = fit_line([p for p in found if p.person != person])
        usual = usual_dice(p for p in found if p.person != person)
        for p in found:
            if p.person != person or p.key not in other.start or p.key not in usual:
                continue
            dice = other.dice(p)
            if dice >= dice_limits(usual[p.key])[1]:  # red ones get no interval
                score = relative_scores(p.found_ml, p.true_ml, error_scale(dice))
                scores.setdefault(p.key, []).append((float(score), person))
    usual = usual_dice(found)
    structures = {}
    for key, start in line.start.items():
        own = scores.get(key, [])
        quantile = conformal_quantile([s for s, _ in own], groups=[person for _, person in own])
        structures[key] = StructureFit(
            start, usual.get(key, 1.0), quantile if math.isfinite(quantile) else None
        )
    return QualityFit(line.slopes, structures, norms)


def usual_dice(points: Iterable[Point]) -> dict[str, float]:
    """Key -> median of the Dice in scans as they are."""
    values: dict[str, list[float]] = {}
    for p in points:
        if not p.corruption.kind:
            values.setdefault(p.key, []).append(p.dice)
    return {key: float(np.median(own)) for key, own in values.items()}


@dataclass(frozen=True)
class Line:
    """slopes: of each feature, 0 or more. start: of each structure's key."""

    slopes: dict[str, float]
    start: dict[str, float]

    def dice(self, point: Point) -> float:
        """The expected Dice of a structure that was found."""
        assert point.features is not None
        logit = self.start[point.key] - sum(w * point.features[n] for n, w in self.slopes.items())
        return 1 / (1 + math.exp(-logit))


def fit_line(points: Sequence[Point]) -> Line:
    """Slopes of one sign by least squares with a penalty; points must have features."""
    by_key: dict[str, list[Point]] = {}
    for p in points:
        by_key.setdefault(p.key, []).append(p)
    by_key = {key: own for key, own in by_key.items() if len(own) >= FEWEST_POINTS}
    if not by_key:
        raise UserError(
            f"No structure was found in {FEWEST_POINTS} of the scans, which are needed to fit the"
            " quality; give more cases."
        )
    names = list(points[0].features or ())
    means: dict[str, tuple[Array, float]] = {}
    apart, targets = [], []
    for key, own in by_key.items():
        x = np.array([[(p.features or {})[n] for n in names] for p in own])  # (n, features)
        y = np.array([logit_of_dice(p.dice) for p in own])
        means[key] = x.mean(axis=0), float(y.mean())
        apart.append(x - means[key][0])
        targets.append(means[key][1] - y)  # falls as features grow
    x, y = np.concatenate(apart), np.concatenate(targets)
    slopes = _ridge(x, y)
    start = {key: y_mean + float(slopes @ x_mean) for key, (x_mean, y_mean) in means.items()}
    return Line(dict(zip(names, map(float, slopes), strict=True)), start)


def _ridge(x: Array, y: Array) -> Array:
    """Slopes of 0 or more (features,) that minimise the squared error and the penalty."""
    spread = x.std(axis=0)
    scale = np.where(spread > 1e-9, spread, np.inf)  # a feature that never varies gets no slope
    scaled = x / scale
    penalty = math.sqrt(PENALTY * len(x)) * np.eye(x.shape[1])
    found, _rest = nnls(
        np.concatenate([scaled, penalty]), np.concatenate([y, np.zeros(x.shape[1])])
    )
    slopes: Array = found / scale
    return slopes


def as_metadata(fit: QualityFit, owner: str, figures: Mapping[str, object]) -> dict[str, object]:
    """The entry of a bundle's metadata. owner: sha256 of the measured model."""
    return {**fit.to_dict(), "measured_model": owner, "figures": dict(figures)}
