"""The Dice that a model expects, from its confidence."""

import numpy as np
import pytest

from MedLLMSegLib.segmentation.expected_dice import expected_dice, fit_line, read_lines


def test_a_line_is_found_again():
    confidence = np.linspace(0.5, 0.9, 20)
    assert fit_line(confidence, 1.5 * confidence - 0.5) == pytest.approx((-0.5, 1.5))


def test_a_falling_line_is_none():
    confidence = np.linspace(0.5, 0.9, 20)
    assert fit_line(confidence, 1 - confidence) == pytest.approx((0.3, 0.0))
    assert fit_line([0.7] * 9, [0.5] * 9) == pytest.approx((0.5, 0.0))
    assert fit_line([0.7] * 7, [0.5] * 7) is None


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
