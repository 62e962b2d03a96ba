"""Figures of classifiers: equal to scikit-learn's, counted by hand, and with intervals over
whole patients.
"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from MedLLMSegLib.metrics.classification import (
    auc_difference,
    calibrated,
    decide,
    drawn_auc,
    draws,
    expected_calibration_error,
    figures,
    fit_temperature,
    sensitivity_at,
    youden_threshold,
)
from MedLLMSegLib.metrics.subgroups import age_band, shortcut, subgroup_table


def binary(score):
    score = np.asarray(score, float)
    return np.stack([1 - score, score], 1)


def test_counted_by_hand():
    truth, score = np.array([0, 0, 0, 1, 1]), [0.1, 0.4, 0.8, 0.35, 0.9]
    found = figures(truth, [(binary(score), 0.35)], range(5), repeats=50)
    assert {k: round(v.value, 4) for k, v in found.items()} == {
        "auc": round(4 / 6, 4),
        "sensitivity": 1.0,
        "specificity": round(1 / 3, 4),
        "accuracy": 0.6,
    }
    assert decide(binary(score), 0.35).tolist() == [0, 1, 1, 1, 1] and decide(
        binary(score)
    ).tolist() == [0, 0, 1, 0, 1]


def test_three_classes_are_each_measured_against_the_rest():
    truth = np.array([0, 0, 1, 1, 2, 2])
    probabilities = np.eye(3)[[0, 1, 1, 1, 2, 0]] * 0.8 + 0.1
    found = figures(truth, [(probabilities, None)], range(6), repeats=20)
    assert found["accuracy"].value == pytest.approx(4 / 6)
    assert found["sensitivity"].value == pytest.approx((0.5 + 1.0 + 0.5) / 3)
    assert found["specificity"].value == pytest.approx((3 / 4 + 3 / 4 + 1.0) / 3)
    expected = np.mean([roc_auc_score(truth == c, probabilities[:, c]) for c in range(3)])
    assert found["auc"].value == pytest.approx(expected)


def test_the_auc_of_a_draw_is_scikit_learns_with_weights():
    rng = np.random.default_rng(0)
    truth, score = rng.integers(0, 2, 60), np.round(rng.random(60), 1)  # ties on purpose
    weights = draws(np.repeat(range(20), 3), repeats=8)
    expected = [roc_auc_score(truth, score, sample_weight=w) for w in weights]
    assert drawn_auc(truth, binary(score), weights) == pytest.approx(expected)


def test_cases_of_a_patient_are_drawn_together():
    weights = draws(["a", "a", "b", "b", "b", "c"], repeats=30)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 2] == weights[:, 4]).all()
    assert ((weights[:, 0] + weights[:, 2] + weights[:, 5]) == 3).all()
    assert draws(["a", "a"]) is None


def test_intervals_are_wider_where_fewer_patients_stand_behind_the_same_images():
    rng = np.random.default_rng(1)
    truth = np.repeat(rng.integers(0, 2, 30), 4)
    score = np.repeat(rng.random(30), 4) * 0.5 + truth * 0.2
    width = lambda groups: (lambda e: e.high - e.low)(
        figures(truth, [(binary(score), None)], groups, repeats=400)["auc"]
    )
    assert width(np.repeat(range(30), 4)) > 1.5 * width(range(120))
    assert np.isnan(figures(truth, [(binary(score), None)], ["one"] * 120)["auc"].low)


def test_a_few_cases_that_are_all_right_have_no_interval():
    """Each draw of them is all right again: that is no proof of being right always."""
    truth, patients = np.array([0, 0, 0, 0, 1, 1, 1]), list("abcdefg")
    score = np.array([0.1, 0.2, 0.3, 0.35, 0.4, 0.7, 0.9])
    found = figures(truth, [(np.stack([1 - score, score], 1), 0.5)], patients, 200)
    assert (
        found["specificity"].value == 1
        and np.isnan(found["specificity"].low)
        and found["specificity"].to_dict()["high"] is None
    )
    assert found["sensitivity"].low < 2 / 3 < found["sensitivity"].high and np.isnan(
        found["auc"].low
    )


def test_one_class_only_has_no_auc():
    found = figures(np.ones(4, int), [(binary([0.1, 0.9, 0.8, 0.7]), 0.5)], range(4))
    assert (
        np.isnan(found["auc"].value)
        and np.isnan(found["specificity"].value)
        and found["sensitivity"].value == 0.75
    )
    assert found["auc"].to_dict() == {"value": None, "low": None, "high": None}


def test_youdens_threshold_parts_the_classes_and_lies_between_two_scores():
    truth, score = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.3, 0.6, 0.7, 0.2])
    assert youden_threshold(truth, score) == pytest.approx(0.45)
    assert youden_threshold(np.ones(3, int), score[:3]) == 0.5
    assert (
        0 <= youden_threshold(np.array([1, 0]), np.array([0.2, 0.9])) <= 1
    )  # worse than chance: still a threshold


def test_calibration():
    assert expected_calibration_error(np.array([0, 0, 1, 1]), binary([0.0, 0.0, 1.0, 1.0])) == 0
    # Ten images said with 0.8: eight right is honest, four right is 0.4 off.
    truth = lambda right: np.array([1] * right + [0] * (10 - right))
    assert expected_calibration_error(truth(8), binary([0.8] * 10)) == pytest.approx(0.0)
    assert expected_calibration_error(truth(4), binary([0.8] * 10)) == pytest.approx(0.4)


def test_the_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 2))
    truth = (rng.random(4000) < calibrated(honest, 1.0)[:, 1]).astype(int)
    assert fit_temperature(3 * honest, truth) == pytest.approx(3.0, rel=0.1)


def test_a_difference_is_paired_and_symmetric():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    good = [
        binary(np.clip(0.5 + 0.25 * (2 * truth - 1) + 0.2 * rng.normal(size=200), 0, 1))
        for _ in range(3)
    ]
    poor = [binary(rng.random(200)) for _ in range(3)]
    there, back = (
        auc_difference(truth, good, poor, range(200), 400),
        auc_difference(truth, poor, good, range(200), 400),
    )
    assert there.value > 0.3 and there.low > 0 and there.p < 0.02 and len(there.seeds) == 3
    assert back.value == pytest.approx(-there.value) and back.low == pytest.approx(-there.high)
    same = auc_difference(truth, good, good, range(200), 400)
    assert same.value == 0 and same.p == 1.0
    with pytest.raises(ValueError, match="cannot be paired"):
        auc_difference(truth, good, poor[:2], range(200))


def test_sensitivity_at_stated_false_positives():
    truth, score = (
        np.array([0] * 10 + [1] * 4),
        np.array([*np.arange(10) / 10, 0.95, 0.85, 0.75, 0.05]),
    )
    assert sensitivity_at(truth, score, (0.0, 0.1, 0.2, 1.0)) == [0.25, 0.5, 0.75, 1.0]


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
    found = shortcut(
        ["AP"] * 4 + ["PA"] * 4, [1, 1, 1, 0, 0, 0, 0, 1], ["AP", "PA", "AP", "side"], [1, 0, 0, 1]
    )
    assert found.rule == {"AP": 1, "PA": 0} and found.accuracy == 0.5 and found.n == 4


def test_seeds_are_averaged_and_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    truth, score = rng.integers(0, 2, 60), rng.random(60)
    one, three = (
        figures(truth, [(binary(score), 0.5)] * count, range(60), repeats=200) for count in (1, 3)
    )
    assert {k: v.to_dict() for k, v in one.items()} == {k: v.to_dict() for k, v in three.items()}
    other = figures(truth, [(binary(score), 0.5), (binary(1 - score), 0.5)], range(60), repeats=200)
    assert other["auc"].value == pytest.approx(0.5)
