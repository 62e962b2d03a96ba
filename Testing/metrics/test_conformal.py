"""Split-conformal intervals keep what they promise."""

import math

import numpy as np
import pytest

from MedLLMSegLib.metrics.conformal import (
    Interval,
    absolute_interval,
    absolute_scores,
    conformal_quantile,
    coverage,
    fewest_groups,
    relative_interval,
    relative_scores,
)


def test_the_quantile_leaves_room_for_the_new_case():
    """Of 19 scores the 18th bounds a twentieth with 90 %: 18 / 20."""
    assert conformal_quantile(np.arange(1, 20)) == 18
    assert conformal_quantile(np.arange(1, 10)) == 9
    assert math.isinf(conformal_quantile(np.arange(1, 9)))  # eight say nothing of one in ten
    assert math.isinf(conformal_quantile([]))
    assert fewest_groups(0.9) == 9
    assert fewest_groups(0.95) == 19


def test_a_person_counts_once():
    scores = [*range(1, 10), *[100.0] * 50]
    persons = [*range(1, 10), *[99] * 50]
    assert conformal_quantile(scores, groups=persons) == 100
    assert conformal_quantile(scores, level=0.8, groups=persons) == 9
    assert math.isinf(conformal_quantile([1.0] * 50, groups=["one person"] * 50))


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_new_persons_lie_inside_as_often_as_promised(level):
    """Over 400 draws of 20 persons with two cases each, whose errors go together."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        spread = rng.lognormal(0, 0.5, 21)[:, None]
        true = 100 * np.exp(rng.normal(0, 0.1, (21, 2)) * spread)
        scores = relative_scores(np.full(40, 100.0), true[:20].ravel())
        quantile = conformal_quantile(scores, level, np.repeat(np.arange(20), 2))
        held.append(coverage([relative_interval(100.0, quantile)] * 2, true[20]))
    assert level - 0.03 < np.mean(held) < level + 0.06


def test_an_interval_is_as_wide_as_the_expected_error():
    scores = absolute_scores([10, 20, 30], [11, 16, 30], [1, 2, 5])
    assert scores == pytest.approx([1, 2, 0])
    assert absolute_interval(50, 2.0, 3.0) == Interval(44, 56)
    with pytest.raises(ValueError, match="scale"):
        absolute_interval(50, 2.0, 0.0)


def test_half_and_double_are_errors_of_one_size():
    scores = relative_scores([2, 8, 0, 0], [4, 4, 0, 3])
    assert scores[:3] == pytest.approx([math.log(2), math.log(2), 0])
    assert math.isinf(scores[3])
    interval = relative_interval(4, math.log(2))
    assert (interval.low, interval.high) == pytest.approx((2, 8))
    assert relative_interval(4, math.inf) == Interval(0, math.inf)


def test_coverage_is_a_mean_over_persons():
    intervals = [Interval(0, 1)] * 4
    assert coverage(intervals, [0.5, 0.5, 0.5, 2]) == 0.75
    assert coverage(intervals, [0.5, 0.5, 0.5, 2], ["a", "a", "a", "b"]) == 0.5
    assert math.isnan(coverage([], []))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        conformal_quantile([1, math.nan])
    with pytest.raises(ValueError, match="level"):
        conformal_quantile([1, 2], level=90)
