"""Metrics and statistics against answers worked out by hand and other libraries."""

import math

import numpy as np
import pytest

from MedLLMSegLib.metrics.overlap import METRICS, dice, metric_of, structure_metrics


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


def test_overlap_by_hand():
    """4 voxels in the truth, 3 in the answer, 2 common, of 24; 3 mm3 each."""
    truth, answer = np.zeros((2, 3, 4), int), np.zeros((2, 3, 4), int)
    truth[0, 0], answer[0, 0, 2:], answer[0, 1, 3] = 5, 5, 5
    found = structure_metrics(answer, truth, 5, np.diag([1.0, 1.0, 3.0, 1.0]))
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
    found = structure_metrics(answer, truth, 2, np.diag([1.0, 2.0, 3.0, 1.0]))
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
        structure_metrics(far, truth, 1, matrix),
        structure_metrics(np.zeros_like(truth), truth, 1, matrix),
    )
    extra, neither = (
        structure_metrics(truth, np.zeros_like(truth), 1, matrix),
        structure_metrics(far, truth, 2, matrix),
    )
    for name in ("dice", "jaccard", "precision", "sensitivity", "nsd_1mm"):
        assert placed[name] == nothing[name] == extra[name] == 0
    for name in ("hd95_mm", "assd_mm"):
        assert nothing[name] == extra[name] == pytest.approx(np.sqrt(8**2 + 14**2 + 30**2))
        assert nothing[name] > placed[name]
    assert nothing["accuracy"] == extra["accuracy"] == pytest.approx(1 - 1 / 336)
    assert nothing["volume_difference_ml"] == pytest.approx(-0.01)
    assert extra["volume_difference_ml"] == pytest.approx(0.01)
    assert all(map(math.isnan, neither.values()))


def test_what_a_column_measures():
    assert metric_of("hd95_mm_left_anterior").best == 0
    assert metric_of("dice").best == 1
    assert metric_of("ece").best == 0
    assert metric_of("ece_anterior") is None
    assert metric_of("dicentric") is None
    assert metric_of("case") is None
