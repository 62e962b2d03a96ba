"""Subgroups at one threshold, age bands and shortcuts."""

import numpy as np
import pytest

from MedLLMSegLib.metrics.subgroups import age_band, measure_shortcut, subgroup_table


def binary(score):
    score = np.asarray(score, float)
    return np.stack([1 - score, score], 1)


def test_subgroups_are_measured_at_the_one_threshold():
    truth = np.array([0, 1, 0, 1, 0, 1])
    rows = subgroup_table(
        truth,
        [(binary([0.1, 0.9, 0.7, 0.3, 0.2, 0.6]), 0.5)],
        list("abcdef"),
        {"view": ["AP", "AP", "PA", "PA", "", ""]},
        repeats=20,
    )
    assert [(r["value"], r["n"], r["accuracy"]["value"]) for r in rows] == [
        ("AP", 2, 1.0),
        ("PA", 2, 0.0),
        ("not stated", 2, 1.0),
    ]


@pytest.mark.parametrize(
    "age, band",
    [
        ("4", "0-19"),
        ("20", "20-39"),
        ("85", "80 or more"),
        ("", "not stated"),
        ("411", "not stated"),
    ],
)
def test_age_bands(age, band):
    assert age_band(age) == band


def test_the_shortcut_is_learnt_on_train_and_measured_elsewhere():
    found = measure_shortcut(
        ["AP"] * 4 + ["PA"] * 4, [1, 1, 1, 0, 0, 0, 0, 1], ["AP", "PA", "AP", "side"], [1, 0, 0, 1]
    )
    assert found.rule == {"AP": 1, "PA": 0}
    assert found.accuracy == 0.5
    assert found.n == 4
