"""Risk-coverage areas worked out by hand."""

import math

import numpy as np
import pytest

from MedLLMSegLib.metrics.risk_coverage import risk_coverage_area


def test_risk_coverage_of_known_cases():
    errors = np.array([False, False, False, True])
    perfect = risk_coverage_area(np.array([0.1, 0.2, 0.3, 0.9]), errors)
    assert perfect.area == perfect.best == pytest.approx(0.25 / 4)
    assert perfect.random == 0.25
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
