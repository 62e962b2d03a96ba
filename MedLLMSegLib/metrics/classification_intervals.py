"""A classifier's figures with intervals over patients.

An image is a case. Cases of one patient are not independent, so every bootstrap draws them
together.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from MedLLMSegLib.core.types import Array

from .classification import (
    area_under_roc,
    confusion_table,
    decide,
    divide_or_nan,
    mean_of_finite,
    positive_classes,
    rates,
)
from .group_statistics import expanded_percentiles, group_ids

FIGURES = ("auc", "sensitivity", "specificity", "accuracy")
REPEATS = 2000
NAN = float("nan")
# Probabilities (n, classes), and the threshold on the second of two (None: take the likeliest).
Answer = tuple[Array, float | None]


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval over patients.

    NaN where it cannot be measured: with one class only, or an interval where all draws agree.
    """

    value: float
    low: float = NAN
    high: float = NAN

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        if np.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def to_dict(self) -> dict[str, float | None]:
        """JSON has no NaN: None stands for it."""
        return {
            key: None if np.isnan(value) else round(float(value), 5)
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Estimate:
        """What `to_dict` wrote."""
        value, low, high = (
            NAN if data[key] is None else data[key] for key in ("value", "low", "high")
        )
        return cls(value, low, high)


def classification_figures(
    truth: ArrayLike,
    answers: Sequence[Answer],
    groups: Sequence[Hashable],
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """All of `FIGURES`, with intervals over draws of whole groups (patients).

    truth: (n,) classes. answers: those of one network, or one for each seed. Figures are averaged
    over the seeds, within every draw too, so that the interval speaks of other patients.
    """
    truth = np.asarray(truth)
    by_seed = [_point_figures(truth, answer) for answer in answers]
    mean = {name: float(np.mean([each[name] for each in by_seed])) for name in FIGURES}
    weights = bootstrap_weights(groups, repeats, seed)
    if weights is None:
        return {name: Estimate(mean[name]) for name in FIGURES}
    draws_by_seed = [_drawn_figures(truth, answer, weights) for answer in answers]
    estimates = {}
    for name in FIGURES:
        draws = np.mean([each[name] for each in draws_by_seed], axis=0)  # (repeats,)
        estimates[name] = Estimate(mean[name], *finite_interval(draws, groups))
    return estimates


def _point_figures(truth: Array, answer: Answer) -> dict[str, Any]:
    probabilities, threshold = answer
    table = confusion_table(truth, decide(probabilities, threshold), probabilities.shape[1])
    return {"auc": area_under_roc(truth, probabilities), **rates(table)}


def _drawn_figures(truth: Array, answer: Answer, weights: Array) -> dict[str, Array]:
    """The figures of every draw, (repeats,) each. weights: see `bootstrap_weights`."""
    probabilities, threshold = answer
    decisions, classes = decide(probabilities, threshold), probabilities.shape[1]
    tables = np.zeros((len(weights), classes, classes))  # (repeats, truth, decision)
    for t in range(classes):
        for d in range(classes):
            tables[:, t, d] = weights[:, (truth == t) & (decisions == d)].sum(1)
    return {"auc": bootstrap_auc(truth, probabilities, weights), **rates(tables)}


def bootstrap_weights(
    groups: Sequence[Hashable], repeats: int = REPEATS, seed: int = 0
) -> Array | None:
    """(repeats, n): how often each case is drawn when whole groups are drawn with replacement.

    None for fewer than two groups.
    """
    ids = group_ids(groups)
    count = int(ids.max()) + 1 if len(ids) else 0
    if count < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, count, (repeats, count))
    times_drawn = np.stack(
        [np.bincount(row, minlength=count) for row in drawn]
    )  # (repeats, groups)
    return times_drawn[:, ids].astype(np.float32)


def bootstrap_auc(truth: Array, probabilities: Array, weights: Array) -> Array:
    """The AUC of each draw, (repeats,); NaN where a draw holds one class only."""
    by_class = []
    for c in positive_classes(probabilities.shape[1]):
        positive, score = truth == c, probabilities[:, c]
        margin = score[positive][:, None] - score[~positive][None]  # (positives, negatives)
        won = (margin > 0).astype(np.float32) + 0.5 * (margin == 0)
        positive_weights, negative_weights = weights[:, positive], weights[:, ~positive]
        pairs = positive_weights.sum(1) * negative_weights.sum(1)
        won_pairs = ((positive_weights @ won) * negative_weights).sum(1)
        by_class.append(divide_or_nan(won_pairs, pairs))
    return mean_of_finite(np.stack(by_class))


def finite_interval(draws: Array, groups: Sequence[Hashable]) -> tuple[float, float]:
    """The 95 % interval of the finite draws, (repeats,).

    NaN where all draws agree: a few cases that are all right leave no spread to draw from.
    """
    finite = draws[np.isfinite(draws)]
    if not len(finite) or np.ptp(finite) <= 1e-9:
        return NAN, NAN
    return expanded_percentiles(finite, len({str(g) for g in groups}))
