"""Intervals and means over groups."""

import math

import numpy as np
import pytest

from MedLLMSegLib.metrics import group_statistics
from MedLLMSegLib.metrics.group_statistics import (
    bootstrap_interval,
    group_means,
    summarize,
    tail_share,
)


def test_summaries_leave_missing_values_out():
    s = summarize([0.8, float("nan"), 0.9, 1.0])
    assert s["n"] == 3
    assert s["mean"] == pytest.approx(0.9)
    assert s["median"] == pytest.approx(0.9)
    assert s["sd"] == pytest.approx(0.1)
    assert 0.8 <= s["low"] < 0.9 < s["high"] <= 1.0
    nothing = summarize([float("nan")])
    assert nothing["n"] == 0
    assert math.isnan(nothing["mean"])


def test_intervals_are_wider_over_groups_whose_members_agree():
    """Ten heads counted twice are still ten heads: doubling the cases must not narrow the
    interval.
    """
    rng = np.random.default_rng(0)
    heads = rng.normal(0.9, 0.02, 10)
    alone = bootstrap_interval(heads)
    doubled = bootstrap_interval(np.repeat(heads, 2), np.repeat(np.arange(10), 2))
    careless = bootstrap_interval(np.repeat(heads, 2))
    width = [high - low for low, high in (alone, doubled, careless)]
    assert width[1] == pytest.approx(width[0], rel=1e-6)
    assert width[2] < 0.85 * width[0]
    # the textbook's interval of Student: 2.262 standard errors of ten values each way
    assert width[0] == pytest.approx(2 * 2.262 * heads.std(ddof=1) / np.sqrt(10), rel=0.15)
    assert alone == bootstrap_interval(heads)  # the same seed, the same answer
    assert all(map(math.isnan, bootstrap_interval([0.9], ["a"])))


def test_ninety_five_percent_hold_the_truth_even_with_ten_patients(monkeypatch):
    """Of 600 draws of ten normal values around 0; the plain percentiles (2.5 and 97.5 %) are too
    narrow for so few.
    """
    values = np.random.default_rng(0).standard_normal((600, 10))

    def share_with_the_truth():
        return np.mean([low <= 0 <= high for low, high in map(bootstrap_interval, values)])

    expanded = share_with_the_truth()
    monkeypatch.setattr(group_statistics, "tail_share", lambda count, level: (1 - level) / 2)
    assert 0.93 <= expanded <= 0.97
    assert share_with_the_truth() <= 0.92
    monkeypatch.undo()
    assert tail_share(10_000) == pytest.approx(0.025, rel=1e-2)  # many groups: nothing changes


def test_groups_keep_each_values_weight():
    low, high = bootstrap_interval(
        [1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"], repeats=20000, level=0.2
    )
    assert low == high == pytest.approx(0.75)  # one of each, half of the draws


def test_group_means():
    assert group_means([0.5, 0.7, 0.9], ["a", "a", "b"]) == {
        "a": pytest.approx(0.6),
        "b": pytest.approx(0.9),
    }
    means = group_means([float("nan"), 0.7, float("nan")], ["a", "a", "b"])
    assert means["a"] == pytest.approx(0.7)
    assert math.isnan(means["b"])
