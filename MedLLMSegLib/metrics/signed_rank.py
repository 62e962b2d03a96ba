"""The Wilcoxon signed-rank test, and Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.types import Array

ROUND_OFF = 1e-9  # smaller differences are none


@dataclass(frozen=True)
class SignedRank:
    """A Wilcoxon signed-rank test. rank_sign: of the rank sum. pairs: those that differ."""

    p: float
    rank_sign: float
    pairs: int


def signed_rank(differences: Array) -> SignedRank:
    """Two-sided Wilcoxon signed-rank test of (n,) differences.

    Equal pairs have no sign and are left out. With none left there is no difference to test and p
    is 1. Exact up to 50 pairs without ties, and up to 13 with; else by the normal approximation.
    """
    from scipy.stats import rankdata, wilcoxon

    nonzero = differences[differences != 0]
    if not len(nonzero):
        return SignedRank(p=1.0, rank_sign=0.0, pairs=0)
    # Equal differences must tie in spite of round-off.
    rounded = np.round(nonzero / ROUND_OFF) * ROUND_OFF
    rank_sum = (np.sign(rounded) * rankdata(np.abs(rounded))).sum()
    p = float(wilcoxon(rounded, method="auto").pvalue)
    return SignedRank(p, float(np.sign(rank_sum)), len(rounded))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order of ``p_values``."""
    count, running_maximum = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        running_maximum = max(running_maximum, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = running_maximum
    return adjusted
