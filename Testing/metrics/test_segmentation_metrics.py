"""Metrics and statistics against answers worked out by hand and other libraries."""

import math

import numpy as np
import pytest

from MedLLMSegLib.metrics import overlap as metrics
from MedLLMSegLib.metrics.overlap import (
    METRICS,
    bootstrap_interval,
    calibration_error,
    dice,
    expected_calibration_error,
    group_means,
    measure,
    metric_of,
    near_foreground,
    reliability,
    risk_coverage_area,
    summarize,
    tail_share,
)


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
    hold = lambda: np.mean([low <= 0 <= high for low, high in map(bootstrap_interval, values)])
    expanded = hold()
    monkeypatch.setattr(metrics, "tail_share", lambda count, level: (1 - level) / 2)
    assert 0.93 <= expanded <= 0.97
    assert hold() <= 0.92
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
    assert means["a"] == pytest.approx(0.7) and math.isnan(means["b"])


def test_overlap_by_hand():
    """4 voxels in the truth, 3 in the answer, 2 common, of 24; 3 mm3 each."""
    truth, answer = np.zeros((2, 3, 4), int), np.zeros((2, 3, 4), int)
    truth[0, 0], answer[0, 0, 2:], answer[0, 1, 3] = 5, 5, 5
    found = measure(answer, truth, 5, np.diag([1.0, 1.0, 3.0, 1.0]))
    assert list(found) == list(METRICS)
    expected = {
        "dice": 4 / 7,
        "jaccard": 2 / 5,
        "precision": 2 / 3,
        "sensitivity": 2 / 4,
        "accuracy": 21 / 24,
        "volume_difference_ml": -0.003,
        "nsd_1mm": 6 / 7,
    }
    assert {name: found[name] for name in expected} == {
        n: pytest.approx(v) for n, v in expected.items()
    }
    assert found["dice"] == pytest.approx(dice(answer, truth, 5))


def test_metrics_agree_with_simpleitk_and_scikit_learn():
    import SimpleITK as sitk
    from sklearn.metrics import accuracy_score, jaccard_score, precision_score, recall_score

    rng = np.random.default_rng(1)
    truth, answer = rng.integers(0, 3, (2, 4, 6, 7))
    found = measure(answer, truth, 2, np.diag([1.0, 2.0, 3.0, 1.0]))
    a, b = (answer == 2).ravel(), (truth == 2).ravel()
    for name, score in (
        ("accuracy", accuracy_score),
        ("jaccard", jaccard_score),
        ("precision", precision_score),
        ("sensitivity", recall_score),
    ):
        assert found[name] == pytest.approx(score(b, a)), name
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*[sitk.GetImageFromArray((m == 2).astype(np.uint8)) for m in (answer, truth)])
    assert found["dice"] == pytest.approx(overlap.GetDiceCoefficient(1))


def test_a_missed_structure_never_looks_better_than_a_badly_placed_one():
    truth = np.zeros((6, 7, 8), int)
    truth[0, 0, 0] = 1
    far = np.zeros_like(truth)
    far[-1, -1, -1] = 1
    matrix = np.diag([1.0, 2.0, 5.0, 1.0])
    placed, nothing = (
        measure(far, truth, 1, matrix),
        measure(np.zeros_like(truth), truth, 1, matrix),
    )
    extra, neither = measure(truth, np.zeros_like(truth), 1, matrix), measure(far, truth, 2, matrix)
    for name in ("dice", "jaccard", "precision", "sensitivity", "nsd_1mm"):
        assert placed[name] == nothing[name] == extra[name] == 0
    for name in ("hd95_mm", "assd_mm"):
        assert nothing[name] == extra[name] == pytest.approx(np.sqrt(8**2 + 14**2 + 30**2))
        assert nothing[name] > placed[name]
    assert nothing["accuracy"] == extra["accuracy"] == pytest.approx(1 - 1 / 336)
    assert nothing["volume_difference_ml"] == pytest.approx(-0.01) and extra[
        "volume_difference_ml"
    ] == pytest.approx(0.01)
    assert all(map(math.isnan, neither.values()))


def test_what_a_column_measures():
    assert metric_of("hd95_mm_left_anterior").best == 0 and metric_of("dice").best == 1
    assert metric_of("ece").best == 0 and metric_of("ece_anterior") is None
    assert metric_of("dicentric") is None and metric_of("case") is None


def calibrated(confidence, right, count=1000, labels_of=1):
    """``count`` voxels said to be the structure with a confidence, of which a share is right."""
    labels = np.zeros((1, 1, count), int)
    labels[..., : int(right * count)] = labels_of
    probabilities = np.full((2, 1, 1, count), 1 - confidence)
    probabilities[1] = confidence
    return probabilities, labels


def test_calibration_error_of_known_cases():
    assert expected_calibration_error(*calibrated(0.8, 0.8)) == pytest.approx(0, abs=1e-9)
    assert expected_calibration_error(*calibrated(0.9, 0.6)) == pytest.approx(0.3)
    assert expected_calibration_error(*calibrated(1.0, 1.0)) == pytest.approx(0)
    # two bins with errors in opposite directions do not cancel: 0.1 and 0.3, a half each
    parts = [calibrated(0.9, 0.8), calibrated(0.6, 0.9)]
    both = [np.concatenate(each, -1) for each in zip(*parts)]
    assert expected_calibration_error(*both) == pytest.approx(0.2)
    assert expected_calibration_error(*both, bins=1) == pytest.approx(0.1)  # one bin hides it
    tables = sum(reliability(*part) for part in parts)
    assert calibration_error(tables) == pytest.approx(0.2) and tables[:, 0].sum() == 2000
    with pytest.raises(ValueError, match="shape"):
        expected_calibration_error(both[0], both[1][..., 1:])


def test_calibration_looks_near_the_structures_only():
    """A wall of sure background must not make the error vanish: widening the image changes
    nothing.
    """
    probabilities, labels = np.zeros((2, 3, 40, 40)), np.zeros((3, 40, 40), int)
    probabilities[0] = 1
    labels[1, 18:22, 18:22] = 1
    probabilities[:, 1, 18:22, 18:22] = [[[0.4]], [[0.6]]]
    small = expected_calibration_error(probabilities[..., 8:32, 8:32], labels[..., 8:32, 8:32])
    assert small > 0.005 and small == pytest.approx(
        expected_calibration_error(probabilities, labels)
    )
    near = near_foreground(labels, labels, (10.0, 1.0, 2.5))
    assert near[1].sum() > 16 and not near[0].any()  # 10 mm to the next slice
    assert (
        near[1, 13, 20] and not near[1, 12, 20] and near[1, 20, 16] and not near[1, 20, 15]
    )  # 5 mm in j, 2.5 mm steps in i
    nothing = np.stack([np.ones((2, 2, 2)), np.zeros((2, 2, 2))])
    assert math.isnan(expected_calibration_error(nothing, np.zeros((2, 2, 2), int)))


def test_risk_coverage_of_known_cases():
    errors = np.array([False, False, False, True])
    perfect = risk_coverage_area(np.array([0.1, 0.2, 0.3, 0.9]), errors)
    assert perfect.area == perfect.best == pytest.approx(0.25 / 4) and perfect.random == 0.25
    worst = risk_coverage_area(np.array([0.9, 0.8, 0.7, 0.1]), errors)
    assert worst.area == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    constant = risk_coverage_area(np.zeros(4), errors)
    assert constant.area == pytest.approx(constant.random)  # ties are in random order
    rng = np.random.default_rng(0)
    many = rng.random(200_000) < 0.1
    assert risk_coverage_area(rng.random(200_000), many).area == pytest.approx(0.1, abs=0.005)
    hint = risk_coverage_area(many + rng.standard_normal(200_000), many)
    assert hint.best < hint.area < 0.8 * hint.random
    right = risk_coverage_area(rng.random((2, 3)), np.zeros((2, 3), bool))
    assert (right.area, right.random, right.best) == (0, 0, 0)
    assert math.isnan(risk_coverage_area(np.empty(0), np.empty(0, bool)).area)
