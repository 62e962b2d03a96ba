"""The Dice that a model expects, from its confidence."""

import numpy as np
import pytest

from MedLLMSegLib.segmentation.expected_dice import expected_dice, fit_lines, read_lines

SURE = np.linspace(0.5, 0.9, 20)


def test_lines_are_found_again():
    found = fit_lines(
        {17: [(c, 1.5 * c - 0.5) for c in SURE], 10: [(c + 0.1, 1.5 * c) for c in SURE]}
    )
    assert found[17] == pytest.approx((-0.5, 1.5))
    assert found[10] == pytest.approx((-0.15, 1.5))


def test_a_structure_that_says_little_takes_the_slope_of_the_others():
    found = fit_lines({17: [(c, 2 * c - 1) for c in SURE], 28: [(0.8, 0.7)] * 9})
    assert found[28] == pytest.approx((0.7 - 2 * 0.8, 2))


def test_falling_lines_and_few_points():
    assert fit_lines({2: [(c, 1 - c) for c in SURE]})[2] == pytest.approx((0.3, 0.0))
    assert fit_lines({2: [(0.7, 0.5)] * 9})[2] == pytest.approx((0.5, 0.0))
    assert fit_lines({2: [(0.7, 0.5)] * 7}) == {} == fit_lines({})


def test_what_was_found_has_an_expectation_between_nought_and_one():
    lines = {17: (-0.5, 1.5), 53: (0.5, 1.0), 24: (-2.0, 1.0)}
    found = expected_dice({17: 0.8, 53: 0.9, 24: 0.5, 2: 0.7, 18: float("nan")}, lines)
    assert found == pytest.approx({17: 0.7, 53: 1.0, 24: 0.0})
    assert expected_dice({53: float("nan")}, lines) == {}


def test_lines_of_a_bundle():
    stored = {"calibration": {"dice_lines": {"17": [0.1, 0.9]}}}
    assert read_lines(stored) == {17: (0.1, 0.9)}
    assert read_lines({}) == read_lines({"calibration": None}) == {}
    for damaged in ({"17": [float("nan"), 1]}, {"17": [1]}, {"x": [1, 2]}):
        with pytest.raises(ValueError):
            read_lines({"calibration": {"dice_lines": damaged}})
