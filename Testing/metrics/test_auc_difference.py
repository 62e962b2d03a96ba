"""The difference in AUC between two arms, with its test and its interval."""

import itertools

import numpy as np
import pytest

from MedLLMSegLib.metrics.auc_difference import auc_difference, patient_parts
from MedLLMSegLib.metrics.classification import area_under_roc


def binary(score):
    score = np.asarray(score, float)
    return np.stack([1 - score, score], 1)


def test_a_difference_is_paired_and_symmetric():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    good = [
        binary(np.clip(0.5 + 0.25 * (2 * truth - 1) + 0.2 * rng.normal(size=200), 0, 1))
        for _ in range(3)
    ]
    poor = [binary(rng.random(200)) for _ in range(3)]
    there, back = (
        auc_difference(truth, good, poor, range(200), 400, 2000),
        auc_difference(truth, poor, good, range(200), 400, 2000),
    )
    assert there.value > 0.3
    assert there.low > 0
    assert there.p < 0.02
    assert there.p_error > 0
    assert len(there.seeds) == 3
    assert back.value == pytest.approx(-there.value)
    assert back.low == pytest.approx(-there.high)
    same = auc_difference(truth, good, good, range(200), 400)
    assert same.value == 0
    assert same.p == 1.0
    with pytest.raises(ValueError, match="cannot be paired"):
        auc_difference(truth, good, poor[:2], range(200))


@pytest.mark.parametrize("classes", [2, 3])
def test_with_few_patients_every_exchange_of_the_two_arms_is_counted(classes):
    """Against AUCs that are computed anew after each exchange of a patient's ranks."""
    rng = np.random.default_rng(classes)
    groups = np.repeat(range(7), 2)
    truth = rng.permutation(np.arange(14) % classes)
    first, second = rng.random((2, 14, classes))
    ranks = [np.argsort(np.argsort(each, axis=0), axis=0).astype(float) for each in (first, second)]
    changed = []
    for signs in itertools.product([False, True], repeat=7):
        turned = np.array(signs)[groups][:, None]
        one, other = np.where(turned, ranks[1], ranks[0]), np.where(turned, ranks[0], ranks[1])
        changed.append(area_under_roc(truth, one) - area_under_roc(truth, other))
    found = auc_difference(truth, [first], [second], groups, repeats=50)
    assert found.value == pytest.approx(changed[0])
    assert found.p == pytest.approx((np.abs(changed) >= abs(changed[0]) - 1e-9).mean())
    assert found.p_error == 0


def test_the_parts_of_the_patients_are_the_difference():
    rng = np.random.default_rng(4)
    truth, groups = rng.integers(0, 2, 40), np.repeat(range(10), 4)
    first, second = (binary(np.round(rng.random(40), 1)) for _ in range(2))  # with ties
    parts = patient_parts(truth, first, second, groups)
    assert parts.shape == (10,)
    expected = area_under_roc(truth, first) - area_under_roc(truth, second)
    assert parts.sum() == pytest.approx(expected)
    # another scale of one arm's probabilities changes nothing
    assert patient_parts(truth, first, binary(second[:, 1] ** 3), groups) == pytest.approx(parts)


def test_where_one_patient_is_all_there_is_nothing_is_tested():
    alone = auc_difference([0, 1], [binary([0.1, 0.2])], [binary([0.2, 0.1])], ["a", "a"])
    assert alone.value == 1.0
    assert np.isnan([alone.p, alone.p_error, alone.low]).all()
