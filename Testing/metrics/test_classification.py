"""Figures of classifiers: equal to scikit-learn's, counted by hand, and with intervals over
whole patients.
"""

import numpy as np
import pytest

from MedLLMSegLib.metrics.classification import sensitivity_at, youden_threshold


def test_youdens_threshold_parts_the_classes_and_lies_between_two_scores():
    truth, score = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.3, 0.6, 0.7, 0.2])
    assert youden_threshold(truth, score) == pytest.approx(0.45)
    assert youden_threshold(np.ones(3, int), score[:3]) == 0.5
    assert (
        0 <= youden_threshold(np.array([1, 0]), np.array([0.2, 0.9])) <= 1
    )  # worse than chance: still a threshold


def test_sensitivity_at_stated_false_positives():
    truth, score = (
        np.array([0] * 10 + [1] * 4),
        np.array([*np.arange(10) / 10, 0.95, 0.85, 0.75, 0.05]),
    )
    assert sensitivity_at(truth, score, (0.0, 0.1, 0.2, 1.0)) == [0.25, 0.5, 0.75, 1.0]
