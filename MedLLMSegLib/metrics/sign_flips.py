"""The paired permutation test: how often do random signs give as large a sum as was measured?

Where two arms are alike, which of them gave which value of a pair is a matter of chance, so every
sign of every pair's difference is as likely as the other. The test asks of how many of the 2^n ways
to choose the signs the sum lies as far from 0 as the one that was measured. It assumes nothing of
the differences' distribution. Source: Fisher, The Design of Experiments, 1935, section 21.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.types import Array

ROUND_OFF = 1e-9  # smaller differences are none
EXACT_UNITS = 40  # of so many differences all signs are counted: two halves of 2^20 sums
DRAWS = 1_000_000  # of signs, for more differences
_SIGNS_AT_ONCE = 10_000_000


@dataclass(frozen=True)
class SignFlips:
    """A two-sided test. error: Monte-Carlo standard error of p, 0 where every way was counted.

    units: the differences that are not 0, which alone matter.
    """

    p: float
    error: float
    units: int


def sign_flips(differences: Array, draws: int = DRAWS, seed: int = 0) -> SignFlips:
    """The test of (n,) differences, which is one of their mean as of their sum.

    Exact up to `EXACT_UNITS` differences. Beyond that, p is the share among ``draws`` ways of
    choosing the signs and the measured one, so that it is never 0. With no difference left there is
    nothing to test, and p is 1.
    """
    units = differences[np.abs(differences) > ROUND_OFF]
    # Signs that give the very sum that was measured must count in spite of round-off.
    least = abs(float(units.sum())) - ROUND_OFF * max(1, len(units))
    if not len(units) or least <= 0:
        return SignFlips(p=1.0, error=0.0, units=len(units))
    if len(units) <= EXACT_UNITS:
        share = _ways_above(units, least) / 2.0 ** len(units)
        return SignFlips(min(1.0, 2 * share), 0.0, len(units))
    as_large = sum(int((np.abs(sums) >= least).sum()) for sums in _drawn_sums(units, draws, seed))
    p = (as_large + 1) / (draws + 1)
    return SignFlips(p, math.sqrt(p * (1 - p) / draws), len(units))


def _ways_above(units: Array, least: float) -> int:
    """How many of the 2^n signed sums are ``least`` or more.

    Every sum is one of the first half's plus one of the second half's, so that 2^(n/2) sorted sums
    of each are enough. Source: Horowitz and Sahni, Journal of the ACM, 1974.
    """
    half = len(units) // 2
    first, second = np.sort(_all_sums(units[:half])), np.sort(_all_sums(units[half:]))
    too_small = np.searchsorted(second, least - first[::-1], side="left")
    return int((len(second) - too_small).sum())


def _all_sums(units: Array) -> Array:
    """The sums of all ways to choose the signs: (2^n,)."""
    sums = np.zeros(1)
    for unit in units:
        sums = np.concatenate([sums - unit, sums + unit])
    return sums


def _drawn_sums(units: Array, draws: int, seed: int) -> Iterator[Array]:
    """The sums of randomly drawn signs, ``draws`` in all, in blocks."""
    rng = np.random.default_rng(seed)
    doubled, total = 2 * units, float(units.sum())
    block = max(1, min(draws, _SIGNS_AT_ONCE // len(units)))
    for start in range(0, draws, block):
        count = min(block, draws - start)
        octets = rng.integers(0, 256, (count, -(-len(units) // 8)), dtype=np.uint8)
        bits = np.unpackbits(octets, axis=1, count=len(units))  # (count, n)
        yield bits.astype(float) @ doubled - total
