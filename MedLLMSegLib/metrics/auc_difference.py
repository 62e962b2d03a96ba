"""The difference in AUC between two classifiers that were measured on the same images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from MedLLMSegLib.core.types import Array

from .classification import area_under_roc, positive_classes
from .classification_intervals import bootstrap_auc, bootstrap_weights, finite_interval
from .group_statistics import COMPARISON_REPEATS, group_ids
from .sign_flips import DRAWS, sign_flips

NAN = float("nan")


@dataclass(frozen=True)
class AucDifference:
    """AUC of a first arm minus a second's on the same images, with its 95 % interval.

    p: two-sided, of the permutation test. p_error: its Monte-Carlo standard error, 0 where it is
    exact. seeds: each seed's difference.
    """

    value: float
    low: float
    high: float
    p: float
    p_error: float
    seeds: tuple[float, ...]


def auc_difference(
    truth: ArrayLike,
    first: Sequence[Array],
    second: Sequence[Array],
    groups: Sequence[Hashable],
    repeats: int = COMPARISON_REPEATS,
    draws: int = DRAWS,
) -> AucDifference:
    """A paired permutation test over patients, and a bootstrap interval over patients.

    first, second: for each seed, probabilities (n, classes); both have the same number of seeds,
    whose AUCs are averaged. The test exchanges the two arms' answers to all images of a patient, in
    all seeds at once. Both speak of other patients, not of other seeds. repeats: of the bootstrap.
    draws: of the test, where there are too many patients to count every exchange (`sign_flips`).
    Source of the test: Bandos, Rockette and Gur, Statistics in Medicine, 2005.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} seeds cannot be paired")
    truth = np.asarray(truth)
    pairs = list(zip(first, second, strict=True))
    by_seed = tuple(area_under_roc(truth, a) - area_under_roc(truth, b) for a, b in pairs)
    mean = float(np.mean(by_seed))
    weights = bootstrap_weights(groups, repeats)
    if weights is None or np.isnan(mean):
        return AucDifference(mean, low=NAN, high=NAN, p=NAN, p_error=NAN, seeds=by_seed)
    resampled = np.mean(
        [bootstrap_auc(truth, a, weights) - bootstrap_auc(truth, b, weights) for a, b in pairs], 0
    )  # (repeats,)
    low, high = finite_interval(resampled, groups)
    parts = np.mean([patient_parts(truth, a, b, groups) for a, b in pairs], axis=0)
    test = sign_flips(parts, draws)
    return AucDifference(mean, low, high, test.p, test.error, by_seed)


def patient_parts(truth: Array, first: Array, second: Array, groups: Sequence[Hashable]) -> Array:
    """What each patient adds to the difference in AUC: (patients,), whose sum it is.

    Exchanging the two arms' answers for a patient turns the sign of that patient's part, and
    changes no other. truth: (n,). first, second: probabilities (n, classes), of which only the
    order within an arm counts. The order is what is exchanged: two networks' probabilities need not
    have one scale.
    """
    by_class = []
    for c in positive_classes(first.shape[1]):
        positive = truth == c
        if not 0 < positive.sum() < len(truth):
            continue
        own, other = rankdata(first[:, c]), rankdata(second[:, c])
        # A pair of images, one of them positive, is in the right order or not: in the first arm and
        # in the second, and where either image's answer comes from the other arm.
        both = _order(own, own, positive) - _order(other, other, positive)
        mixed = _order(own, other, positive) - _order(other, own, positive)
        parts = np.zeros(len(truth))
        parts[positive] = (both + mixed).sum(1)
        parts[~positive] = (both - mixed).sum(0)
        by_class.append(parts / (2 * both.size))
    return np.bincount(group_ids(groups), np.mean(by_class, axis=0))


def _order(of_positives: Array, of_others: Array, positive: Array) -> Array:
    """(positives, others): 1 where the positive ranks higher, 0.5 where both rank alike, else 0."""
    margin = of_positives[positive][:, None] - of_others[~positive][None]
    order: Array = (margin > 0) + 0.5 * (margin == 0)
    return order
