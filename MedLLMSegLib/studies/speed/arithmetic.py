"""The table's arithmetic: medians, ratios of one run, exponents, and ratios that became worse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

SLACK = 0.3  # by this part a ratio may be worse than the one that was reached

# Seconds of each round, by contestant.
Rounds = Mapping[str, Sequence[float]]


def ratio_of_rounds(ours: Sequence[float], other: Sequence[float]) -> float:
    """The median over the rounds of ours over the other's.

    Both of a round ran one after the other, so that a machine that becomes busy slows both.
    """
    return median(mine / theirs for mine, theirs in zip(ours, other, strict=True))


def ratios(seconds: Rounds, ours: str) -> dict[str, float]:
    """Ours over each of the others; below 1 where ours is faster."""
    return {
        name: ratio_of_rounds(seconds[ours], theirs)
        for name, theirs in seconds.items()
        if name != ours
    }


def exponent(amounts: Sequence[float], costs: Sequence[float]) -> float:
    """The power of the amount that the cost grows with: a least-squares line through logarithms.

    1 is in proportion. Raises `ValueError` for fewer than two amounts.
    """
    if len(set(amounts)) < 2:
        raise ValueError(f"{len(set(amounts))} amounts show no growth; two are needed")
    x, y = [math.log(a) for a in amounts], [math.log(c) for c in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    upper = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return upper / sum((a - mean_x) ** 2 for a in x)


def worse(
    measured: Mapping[str, float], reached: Mapping[str, float], slack: float = SLACK
) -> dict[str, tuple[float, float]]:
    """The ratios that are worse than what was reached: name -> (measured, reached).

    A ratio that is missing on one side is no evidence, and is left out.
    """
    return {
        name: (measured[name], best)
        for name, best in reached.items()
        if name in measured and measured[name] > best * (1 + slack)
    }
