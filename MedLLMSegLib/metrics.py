"""How well two label maps agree, and statistics over cases and over groups of cases.

Rule for structures that are not there: where neither label map has the structure, Dice is undefined; it counts as
missing (NaN) and is left out of every mean. Where only one of them has it, Dice is 0.
"""
from __future__ import annotations

from typing import Hashable, Sequence

import numpy as np


def dice(result: np.ndarray, truth: np.ndarray, label: int) -> float:
    """Dice coefficient of one label: twice the common voxels by the sum of both, 0 to 1; NaN if both are empty.

    result, truth: integer label maps of the same shape.
    """
    if result.shape != truth.shape:
        raise ValueError(f"label maps of shapes {result.shape} and {truth.shape} cannot be compared")
    a, b = result == label, truth == label
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else float("nan")


def summarize(values: Sequence[float], groups: Sequence[Hashable] | None = None) -> dict[str, float]:
    """n, mean, sd (n - 1), median, low and high (95 % interval of the mean, see `bootstrap_interval`).

    values: (n,), NaN where missing: left out. groups: (n,) which group each value belongs to.
    """
    values = np.asarray(values, float)
    there = np.isfinite(values)
    kept = values[there]
    if not len(kept):
        return {"n": 0} | dict.fromkeys(("mean", "sd", "median", "low", "high"), float("nan"))
    low, high = bootstrap_interval(kept, [g for g, t in zip(groups, there) if t] if groups is not None else None)
    sd = float(kept.std(ddof=1)) if len(kept) > 1 else float("nan")
    return {"n": len(kept), "mean": float(kept.mean()), "sd": sd, "median": float(np.median(kept)),
            "low": low, "high": high}


def bootstrap_interval(values: Sequence[float], groups: Sequence[Hashable] | None = None, level: float = 0.95,
                       repeats: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the mean over whole groups drawn with replacement.

    Cases of one group (two sides of one head) are not independent, so they are drawn together; each value keeps
    the same weight. Without groups each value is a group of its own. NaN for fewer than two groups.
    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
    """
    values = np.asarray(values, float)
    ids = np.unique([str(g) for g in groups], return_inverse=True)[1] if groups is not None else np.arange(len(values))
    count = int(ids.max()) + 1 if len(ids) else 0
    if count < 2:
        return float("nan"), float("nan")
    sums, sizes = np.bincount(ids, values), np.bincount(ids)
    drawn = np.random.default_rng(seed).integers(0, count, (repeats, count))  # (repeats, groups)
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    tail = (1 - level) / 2
    return tuple(float(q) for q in np.quantile(means, [tail, 1 - tail]))


def group_means(values: Sequence[float], groups: Sequence[Hashable]) -> dict[Hashable, float]:
    """Mean of each group's values, NaN left out; NaN for a group without any."""
    found: dict[Hashable, list[float]] = {}
    for value, group in zip(values, groups):
        found.setdefault(group, []).append(value)
    kept = {group: [v for v in each if np.isfinite(v)] for group, each in found.items()}
    return {group: float(np.mean(each)) if each else float("nan") for group, each in kept.items()}
