"""Figures of classifiers with intervals over whole patients."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from MedLLMSegLib.metrics.classification import decide
from MedLLMSegLib.metrics.classification_intervals import (
    bootstrap_auc,
    bootstrap_weights,
    classification_figures,
)


def binary(score):
    score = np.asarray(score, float)
    return np.stack([1 - score, score], 1)


def test_counted_by_hand():
    truth, score = np.array([0, 0, 0, 1, 1]), [0.1, 0.4, 0.8, 0.35, 0.9]
    found = classification_figures(truth, [(binary(score), 0.35)], range(5), repeats=50)
    assert {k: round(v.value, 4) for k, v in found.items()} == {
        "auc": round(4 / 6, 4),
        "sensitivity": 1.0,
        "specificity": round(1 / 3, 4),
        "accuracy": 0.6,
    }
    assert decide(binary(score), 0.35).tolist() == [0, 1, 1, 1, 1]
    assert decide(binary(score)).tolist() == [0, 0, 1, 0, 1]


def test_three_classes_are_each_measured_against_the_rest():
    truth = np.array([0, 0, 1, 1, 2, 2])
    probabilities = np.eye(3)[[0, 1, 1, 1, 2, 0]] * 0.8 + 0.1
    found = classification_figures(truth, [(probabilities, None)], range(6), repeats=20)
    assert found["accuracy"].value == pytest.approx(4 / 6)
    assert found["sensitivity"].value == pytest.approx((0.5 + 1.0 + 0.5) / 3)
    assert found["specificity"].value == pytest.approx((3 / 4 + 3 / 4 + 1.0) / 3)
    expected = np.mean([roc_auc_score(truth == c, probabilities[:, c]) for c in range(3)])
    assert found["auc"].value == pytest.approx(expected)


def test_the_auc_of_a_draw_is_scikit_learns_with_weights():
    rng = np.random.default_rng(0)
    truth, score = rng.integers(0, 2, 60), np.round(rng.random(60), 1)  # ties on purpose
    weights = bootstrap_weights(np.repeat(range(20), 3), repeats=8)
    expected = [roc_auc_score(truth, score, sample_weight=w) for w in weights]
    assert bootstrap_auc(truth, binary(score), weights) == pytest.approx(expected)


def test_cases_of_a_patient_are_drawn_together():
    weights = bootstrap_weights(["a", "a", "b", "b", "b", "c"], repeats=30)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 4]).all()
    assert ((weights[:, 0] + weights[:, 2] + weights[:, 5]) == 3).all()
    assert bootstrap_weights(["a", "a"]) is None


def test_intervals_are_wider_where_fewer_patients_stand_behind_the_same_images():
    rng = np.random.default_rng(1)
    truth = np.repeat(rng.integers(0, 2, 30), 4)
    score = np.repeat(rng.random(30), 4) * 0.5 + truth * 0.2

    def width(groups):
        auc = classification_figures(truth, [(binary(score), None)], groups, repeats=400)["auc"]
        return auc.high - auc.low

    assert width(np.repeat(range(30), 4)) > 1.5 * width(range(120))
    assert np.isnan(
        classification_figures(truth, [(binary(score), None)], ["one"] * 120)["auc"].low
    )


def test_a_few_cases_that_are_all_right_have_no_interval():
    """Each draw of them is all right again: that is no proof of being right always."""
    truth, patients = np.array([0, 0, 0, 0, 1, 1, 1]), list("abcdefg")
    score = np.array([0.1, 0.2, 0.3, 0.35, 0.4, 0.7, 0.9])
    found = classification_figures(truth, [(np.stack([1 - score, score], 1), 0.5)], patients, 200)
    assert found["specificity"].value == 1
    assert np.isnan(found["specificity"].low)
    assert found["specificity"].to_dict()["high"] is None
    assert found["sensitivity"].low < 2 / 3 < found["sensitivity"].high
    assert np.isnan(found["auc"].low)


def test_one_class_only_has_no_auc():
    found = classification_figures(np.ones(4, int), [(binary([0.1, 0.9, 0.8, 0.7]), 0.5)], range(4))
    assert np.isnan(found["auc"].value)
    assert np.isnan(found["specificity"].value)
    assert found["sensitivity"].value == 0.75
    assert found["auc"].to_dict() == {"value": None, "low": None, "high": None}


def test_seeds_are_averaged_and_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    truth, score = rng.integers(0, 2, 60), rng.random(60)
    one, three = (
        classification_figures(truth, [(binary(score), 0.5)] * count, range(60), repeats=200)
        for count in (1, 3)
    )
    assert {k: v.to_dict() for k, v in one.items()} == {k: v.to_dict() for k, v in three.items()}
    other = classification_figures(
        truth, [(binary(score), 0.5), (binary(1 - score), 0.5)], range(60), repeats=200
    )
    assert other["auc"].value == pytest.approx(0.5)
