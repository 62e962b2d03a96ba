"""The permutation test against a count of all signs, and Holm's correction by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from MedLLMSegLib.metrics.multiple_tests import AdjustedP, holm
from MedLLMSegLib.metrics.sign_flips import EXACT_UNITS, SignFlips, sign_flips


def counted(differences):
    signs = np.array(list(itertools.product([-1, 1], repeat=len(differences))))
    return (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=1, max_size=10))
def test_every_way_to_choose_the_signs_is_counted(whole):
    """Small whole numbers on purpose: sums that equal the measured one count."""
    differences = np.array(whole) / 7
    test = sign_flips(differences)
    assert test.p == pytest.approx(counted(differences))
    assert test.error == 0
    assert test.units == np.count_nonzero(whole)


def test_it_is_scipys_permutation_test():
    differences = np.random.default_rng(0).normal(0.3, 1, 12)
    found = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flips(differences).p == pytest.approx(found.pvalue)


def test_beyond_what_can_be_counted_p_is_drawn_and_its_error_is_stated():
    """The draws must agree with the count, within their stated error."""
    rng = np.random.default_rng(1)
    differences = rng.normal(0.35, 1, EXACT_UNITS)
    exact = sign_flips(differences)
    almost_nothing = np.concatenate([differences, np.full(3, 1e-7)])  # they change no count
    drawn = [sign_flips(almost_nothing, draws=50_000, seed=seed) for seed in range(4)]
    assert len({test.p for test in drawn}) > 1
    for test in drawn:
        assert 0 < test.error < 0.002
        assert abs(test.p - exact.p) < 4 * test.error
    assert sign_flips(np.ones(60), draws=999) == SignFlips(
        0.001, pytest.approx((0.001 * 0.999 / 999) ** 0.5), 60
    )


def test_no_difference_is_nothing_to_test():
    assert sign_flips(np.zeros(5)) == SignFlips(1.0, 0.0, 0)
    assert sign_flips(np.array([0.1, -0.1])).p == 1.0
    assert sign_flips(np.array([0.1, 0.2, 0.3, 0.0])) == SignFlips(0.25, 0.0, 3)
    assert sign_flips(np.array([0.1, 0.2, 0.3]) * -1).p == 0.25


def test_holms_correction_by_hand():
    def adjusted(*p_values):
        return [pytest.approx(each.p) for each in holm(p_values)]

    assert adjusted(0.01, 0.04, 0.03) == [0.03, 0.06, 0.06]
    assert adjusted(0.5, 0.9) == [1.0, 1.0]
    assert adjusted(0.02) == [0.02]
    assert adjusted(0.001, 0.001, 0.04) == [0.003, 0.003, 0.04]


def test_the_error_of_an_adjusted_p_is_that_of_the_p_it_comes_from():
    assert holm([0.01, 0.04, 0.03], [0.001, 0.002, 0.003]) == [
        AdjustedP(pytest.approx(0.03), pytest.approx(0.003)),
        AdjustedP(pytest.approx(0.06), pytest.approx(0.006)),
        AdjustedP(pytest.approx(0.06), pytest.approx(0.006)),
    ]
    assert holm([0.9, 0.8], [0.1, 0.1])[0] == AdjustedP(1.0, 0.0)


def test_a_p_that_is_none_is_not_corrected():
    with pytest.raises(ValueError, match="NaN"):
        holm([0.01, float("nan")])
