"""Split-conformal intervals: how far a figure may be from the truth, from its errors on cases that
nothing was fitted to.

An error becomes a score: its size, absolute or relative, divided by how large an error was to be
expected there. The quantile of the scores of calibration cases bounds the score of a new case with
the stated probability, whatever the errors' distribution, if the new case is like the others.

Sources: Lei et al., Distribution-Free Predictive Inference for Regression, Journal of the American
Statistical Association 2018 (split conformal, scaled scores); Dunn, Wasserman and Ramdas,
Distribution-Free Prediction Sets for Two-Layer Hierarchical Models, the same journal 2023 (several
cases of a person: pooled distributions).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from MedLLMSegLib.core.types import Array

from .group_statistics import group_ids

LEVEL = 0.9  # of the intervals that we state
ROUND_OFF = 1e-9  # of sums of masses


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, in the unit of the figure; infinite where nothing can be promised."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value lies within, the ends included."""
        return self.low <= value <= self.high


def fewest_groups(level: float = LEVEL) -> int:
    """How many persons are needed for a finite interval: 9 for 90 %."""
    return math.ceil(level / (1 - level) - ROUND_OFF)


def conformal_quantile(
    scores: ArrayLike, level: float = LEVEL, groups: Sequence[Hashable] | None = None
) -> float:
    """The score that a new case stays under with probability ``level``.

    scores: (n,) of calibration cases, none NaN. groups: (n,) whose case each is (None: each its
    own). A person counts once, however many cases he has, and a new person's place is left free at
    infinity: with fewer than `fewest_groups` persons the answer is infinite. Raises `ValueError`
    for a level outside 0 to 1, and for NaN.
    """
    values = np.asarray(scores, float)
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1")
    if np.isnan(values).any():
        raise ValueError("a score is NaN")
    if not len(values):
        return math.inf
    ids = np.arange(len(values)) if groups is None else group_ids(groups)
    sizes = np.bincount(ids)
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(1 / sizes[ids][order]) / (len(sizes) + 1)
    place = int(np.searchsorted(mass, level - ROUND_OFF))
    return float(values[order][place]) if place < len(values) else math.inf


def absolute_scores(found: ArrayLike, true: ArrayLike, scale: ArrayLike = 1.0) -> Array:
    """(n,) sizes of errors, in the figure's unit, over what was to be expected.

    found, true: (n,). scale: (n,) or one number, above 0.
    """
    scores: Array = np.abs(np.asarray(found, float) - np.asarray(true, float)) / _above_zero(scale)
    return scores


def relative_scores(found: ArrayLike, true: ArrayLike, scale: ArrayLike = 1.0) -> Array:
    """(n,) sizes of relative errors, as |log(true / found)|, over what was to be expected.

    found, true: (n,) volumes, 0 or more. Twice as much and half as much are errors of one size.
    Where only one of the two is 0 the score is infinite, where both are it is 0.
    """
    a, b = np.asarray(found, float), np.asarray(true, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.abs(np.log(b / a))
    size = np.where(a == b, 0.0, size)
    scores: Array = size / _above_zero(scale)
    return scores


def absolute_interval(value: float, quantile: float, scale: float = 1.0) -> Interval:
    """The interval of a figure from the quantile of `absolute_scores`."""
    reach = quantile * float(_above_zero(scale))
    return Interval(value - reach, value + reach)


def relative_interval(value: float, quantile: float, scale: float = 1.0) -> Interval:
    """The interval of a volume above 0 from the quantile of `relative_scores`."""
    if math.isinf(quantile):
        return Interval(0.0, math.inf)
    factor = math.exp(quantile * float(_above_zero(scale)))
    return Interval(value / factor, value * factor)


def coverage(
    intervals: Sequence[Interval], true: ArrayLike, groups: Sequence[Hashable] | None = None
) -> float:
    """The share of true values that lie in their intervals; NaN without any.

    groups: as in `conformal_quantile`; then it is the mean of each person's share.
    """
    values = np.asarray(true, float)
    held = np.array(
        [interval.holds(value) for interval, value in zip(intervals, values, strict=True)], float
    )
    if not len(held):
        return math.nan
    if groups is None:
        return float(held.mean())
    ids = group_ids(groups)
    return float((np.bincount(ids, held) / np.bincount(ids)).mean())


def _above_zero(scale: ArrayLike) -> Array:
    values = np.asarray(scale, float)
    if not (values > 0).all():
        raise ValueError("the scale of a score is not above 0")
    return values
