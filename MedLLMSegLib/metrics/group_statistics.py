"""Statistics over cases that belong to groups (heads, patients), whose members are not independent.

Intervals are bootstraps that draw whole groups with replacement.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtrit

from MedLLMSegLib.core.types import Array

NAN = float("nan")
# Of the bootstrap of a comparison, whose ends are stated as margins.
COMPARISON_REPEATS = 20_000
_DRAWN_AT_ONCE = 10_000_000


def summarize(values: ArrayLike, groups: Sequence[Hashable] | None = None) -> dict[str, float]:
    """n, mean, sd (n - 1), median, low and high (95 % interval of the mean).

    values: (n,), NaN where missing: those are left out. groups: (n,) which group each value belongs
    to, for the interval (see `bootstrap_interval`).
    """
    all_values = np.asarray(values, float)
    present = np.isfinite(all_values)
    kept = all_values[present]
    if not len(kept):
        return {"n": 0} | dict.fromkeys(("mean", "sd", "median", "low", "high"), NAN)
    kept_groups = None
    if groups is not None:
        kept_groups = [g for g, is_present in zip(groups, present, strict=True) if is_present]
    low, high = bootstrap_interval(kept, kept_groups)
    return {
        "n": len(kept),
        "mean": float(kept.mean()),
        "sd": float(kept.std(ddof=1)) if len(kept) > 1 else NAN,
        "median": float(np.median(kept)),
        "low": low,
        "high": high,
    }


def bootstrap_interval(
    values: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    repeats: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval (`expanded_percentiles`) of the mean over whole groups drawn with replacement.

    Cases of one group (two sides of one head) are not independent, so they are drawn together; each
    value keeps the same weight. Without groups, each value is a group of its own. NaN for fewer
    than two groups. Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997,
    section 3.8.
    """
    all_values = np.asarray(values, float)
    ids = np.arange(len(all_values)) if groups is None else group_ids(groups)
    count = int(ids.max()) + 1 if len(ids) else 0
    if count < 2:
        return NAN, NAN
    sums, sizes = np.bincount(ids, all_values), np.bincount(ids)
    rng, block = np.random.default_rng(seed), max(1, _DRAWN_AT_ONCE // count)
    means = []
    for start in range(0, repeats, block):
        drawn = rng.integers(0, count, (min(block, repeats - start), count))  # (block, groups)
        means.append(sums[drawn].sum(1) / sizes[drawn].sum(1))
    return expanded_percentiles(np.concatenate(means), count, level)


def excluded_margin(low: float, high: float) -> float:
    """The smallest margin that an interval of a difference excludes; NaN without an interval.

    Every difference beyond it, either way, lies outside the interval. "No difference shown" with a
    large margin says little; with a small one, that what could not be shown is small.
    """
    return max(abs(low), abs(high))


def group_ids(groups: Sequence[Hashable]) -> Array:
    """The number, from 0, of each case's group: (n,). Groups with the same text are the same."""
    ids: Array = np.unique([str(g) for g in groups], return_inverse=True)[1]
    return ids


def expanded_percentiles(draws: Array, count: int, level: float = 0.95) -> tuple[float, float]:
    """The interval between the `tail_share` quantiles of a bootstrap over ``count`` groups."""
    tail = tail_share(count, level)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def tail_share(count: int, level: float = 0.95) -> float:
    """Share of the draws that a bootstrap over ``count`` groups leaves out on each side.

    The usual (1 - level) / 2 gives intervals that are too narrow for few groups. This smaller share
    makes them as wide as Student's where the means of the draws are normal;
    Testing/metrics/test_group_statistics.py counts how often both contain the true mean. Source:
    Hesterberg, What Teachers Should Know about the Bootstrap, The American Statistician 2015
    (expanded percentile).
    """
    return float(ndtr(math.sqrt(count / (count - 1)) * stdtrit(count - 1, (1 - level) / 2)))


def group_means(values: ArrayLike, groups: Sequence[Hashable]) -> dict[Hashable, float]:
    """Mean of each group's values, NaN left out; NaN for a group without any."""
    members: dict[Hashable, list[float]] = {}
    for value, group in zip(np.asarray(values, float), groups, strict=True):
        group_values = members.setdefault(group, [])
        if np.isfinite(value):
            group_values.append(value)
    return {group: float(np.mean(kept)) if kept else NAN for group, kept in members.items()}
