"""Dice and statistics against answers worked out by hand."""
import math

import numpy as np
import pytest

from MedLLMSegLib.metrics import bootstrap_interval, dice, group_means, summarize


def test_dice_by_hand():
    a, b = np.zeros((2, 3, 4), int), np.zeros((2, 3, 4), int)
    a[0, 0, :4], b[0, 0, 2:4] = 1, 1  # 4 and 2 voxels, 2 of them common
    b[0, 1, :] = 1
    b[1] = 2
    assert dice(a, b, 1) == pytest.approx(2 * 2 / (4 + 6))
    assert dice(a, a, 1) == 1
    assert dice(a, b, 2) == 0  # only in one of them
    assert math.isnan(dice(a, b, 3))  # in neither
    with pytest.raises(ValueError, match="shapes"):
        dice(a, b[:1], 1)


def test_summaries_leave_missing_values_out():
    s = summarize([0.8, float("nan"), 0.9, 1.0])
    assert s["n"] == 3 and s["mean"] == pytest.approx(0.9) and s["median"] == pytest.approx(0.9)
    assert s["sd"] == pytest.approx(0.1)
    assert 0.8 <= s["low"] < 0.9 < s["high"] <= 1.0
    nothing = summarize([float("nan")])
    assert nothing["n"] == 0 and math.isnan(nothing["mean"])


def test_intervals_are_wider_over_groups_whose_members_agree():
    """Ten heads counted twice are still ten heads: doubling the cases must not narrow the interval."""
    rng = np.random.default_rng(0)
    heads = rng.normal(0.9, 0.02, 10)
    alone = bootstrap_interval(heads)
    doubled = bootstrap_interval(np.repeat(heads, 2), np.repeat(np.arange(10), 2))
    careless = bootstrap_interval(np.repeat(heads, 2))
    width = [high - low for low, high in (alone, doubled, careless)]
    assert width[1] == pytest.approx(width[0], rel=1e-6)
    assert width[2] < 0.85 * width[0]
    # the textbook's normal interval: 1.96 standard errors each way
    assert width[0] == pytest.approx(2 * 1.96 * heads.std() / np.sqrt(10), rel=0.15)
    assert alone == bootstrap_interval(heads)  # the same seed, the same answer
    assert all(map(math.isnan, bootstrap_interval([0.9], ["a"])))


def test_groups_keep_each_values_weight():
    low, high = bootstrap_interval([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"], repeats=20000, level=0.4)
    assert low == high == pytest.approx(0.75)  # one of each, half of the draws


def test_group_means():
    assert group_means([0.5, 0.7, 0.9], ["a", "a", "b"]) == {"a": pytest.approx(0.6), "b": pytest.approx(0.9)}
    means = group_means([float("nan"), 0.7, float("nan")], ["a", "a", "b"])
    assert means["a"] == pytest.approx(0.7) and math.isnan(means["b"])
