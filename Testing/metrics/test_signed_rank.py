"""The signed-rank test and Holm's correction against counts by hand."""

import numpy as np
import pytest
from scipy import stats

from MedLLMSegLib.metrics.signed_rank import SignedRank, holm, signed_rank


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03]) == [
        pytest.approx(0.03),
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([0.001, 0.001, 0.04]) == [pytest.approx(v) for v in (0.003, 0.003, 0.04)]


def test_ranks_against_a_count_of_all_signs():
    """With ties, against all 2^7 ways to give the differences their signs."""
    differences = np.array([0.1, 0.1, 0.2, -0.1, 0.3, 0.2, 0.4])
    ranks = stats.rankdata(np.abs(differences))
    signs = np.array(np.meshgrid(*[[-1, 1]] * 7)).reshape(7, -1)
    sums, seen = ranks @ signs, ranks @ np.sign(differences)
    test = signed_rank(differences + np.array([1, -1, 1, 1, -1, 1, 1]) * 1e-16)
    assert test.p == pytest.approx((np.abs(sums) >= np.abs(seen) - 1e-9).mean())
    assert test.rank_sign == 1
    assert test.pairs == 7
    assert signed_rank(np.zeros(5)) == SignedRank(p=1.0, rank_sign=0.0, pairs=0)
