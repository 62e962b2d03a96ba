"""Holm's correction for several tests of one family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AdjustedP:
    """A p value after the correction. error: its Monte-Carlo standard error."""

    p: float
    error: float


def holm(p_values: Sequence[float], errors: Sequence[float] | None = None) -> list[AdjustedP]:
    """Step-down adjusted p values, in the order of ``p_values``.

    errors: Monte-Carlo standard errors of p; None for exact ones. Each adjusted p is a multiple of
    one of the p values, and so is its error. Source: Holm, Scandinavian Journal of Statistics,
    1979.
    """
    if np.isnan(p_values).any():
        raise ValueError("a p-value is NaN: there is nothing to correct")
    count, largest = len(p_values), AdjustedP(0.0, 0.0)
    errors = [0.0] * count if errors is None else errors
    adjusted = [largest] * count
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        times = count - rank
        if times * p_values[index] > largest.p:
            largest = AdjustedP(min(1.0, times * p_values[index]), times * errors[index])
        if largest.p == 1.0:
            largest = AdjustedP(1.0, 0.0)
        adjusted[index] = largest
    return adjusted
