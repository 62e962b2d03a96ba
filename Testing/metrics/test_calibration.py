"""Reliability tables and calibration errors worked out by hand."""

import math

import numpy as np
import pytest

from MedLLMSegLib.metrics.calibration import (
    TemperatureNotFound,
    at_bound,
    calibrated_probabilities,
    calibration_error,
    fit_temperature,
    image_calibration_error,
    near_foreground,
    voxel_calibration_error,
    voxel_reliability,
)


def predictions(confidence, right, count=1000, labels_of=1):
    """Probabilities and labels of ``count`` voxels, all predicted to be the structure with one
    confidence, a share of them rightly.
    """
    labels = np.zeros((1, 1, count), int)
    labels[..., : int(right * count)] = labels_of
    probabilities = np.full((2, 1, 1, count), 1 - confidence)
    probabilities[1] = confidence
    return probabilities, labels


def test_calibration_error_of_known_cases():
    assert voxel_calibration_error(*predictions(0.8, 0.8)) == pytest.approx(0, abs=1e-9)
    assert voxel_calibration_error(*predictions(0.9, 0.6)) == pytest.approx(0.3)
    assert voxel_calibration_error(*predictions(1.0, 1.0)) == pytest.approx(0)
    # two bins with errors in opposite directions do not cancel: 0.1 and 0.3, a half each
    parts = [predictions(0.9, 0.8), predictions(0.6, 0.9)]
    both = [np.concatenate(each, -1) for each in zip(*parts, strict=True)]
    assert voxel_calibration_error(*both) == pytest.approx(0.2)
    assert voxel_calibration_error(*both, bins=1) == pytest.approx(0.1)  # one bin hides it
    tables = sum(voxel_reliability(*part) for part in parts)
    assert calibration_error(tables) == pytest.approx(0.2)
    assert tables[:, 0].sum() == 2000
    with pytest.raises(ValueError, match="shape"):
        voxel_calibration_error(both[0], both[1][..., 1:])


def test_calibration_looks_near_the_structures_only():
    """A wall of sure background must not make the error vanish: widening the image changes
    nothing.
    """
    probabilities, labels = np.zeros((2, 3, 40, 40)), np.zeros((3, 40, 40), int)
    probabilities[0] = 1
    labels[1, 18:22, 18:22] = 1
    probabilities[:, 1, 18:22, 18:22] = [[[0.4]], [[0.6]]]
    small = voxel_calibration_error(probabilities[..., 8:32, 8:32], labels[..., 8:32, 8:32])
    assert small > 0.005
    assert small == pytest.approx(voxel_calibration_error(probabilities, labels))
    near = near_foreground(labels, labels, (10.0, 1.0, 2.5))
    # 10 mm to the next slice
    assert near[1].sum() > 16
    assert not near[0].any()
    # 5 mm in j, 2.5 mm steps in i
    assert near[1, 13, 20]
    assert not near[1, 12, 20]
    assert near[1, 20, 16]
    assert not near[1, 20, 15]
    nothing = np.stack([np.ones((2, 2, 2)), np.zeros((2, 2, 2))])
    assert math.isnan(voxel_calibration_error(nothing, np.zeros((2, 2, 2), int)))


def binary(score):
    score = np.asarray(score, float)
    return np.stack([1 - score, score], 1)


def test_calibration_error_of_images():
    assert image_calibration_error(np.array([0, 0, 1, 1]), binary([0.0, 0.0, 1.0, 1.0])) == 0
    # Ten images predicted with 0.8: eight right is honest, four right is 0.4 off.
    eight_right, four_right = np.array([1] * 8 + [0] * 2), np.array([1] * 4 + [0] * 6)
    assert image_calibration_error(eight_right, binary([0.8] * 10)) == pytest.approx(0.0)
    assert image_calibration_error(four_right, binary([0.8] * 10)) == pytest.approx(0.4)


def test_the_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 2))
    truth = (rng.random(4000) < calibrated_probabilities(honest, 1.0)[:, 1]).astype(int)
    assert fit_temperature(3 * honest, truth) == pytest.approx(3.0, rel=0.1)


def test_a_bound_of_the_search_is_no_temperature():
    """Answers that are all right, and answers that are guesses: no temperature fits either."""
    rng = np.random.default_rng(0)
    truth = np.arange(40) % 2
    right = np.stack([1 - truth, truth], 1) * 0.1
    with pytest.raises(TemperatureNotFound, match=r"bound \(0.05\).*hardly"):
        fit_temperature(right, truth)
    with pytest.raises(TemperatureNotFound, match=r"bound \(20\).*guesses"):
        fit_temperature(1 - 50 * right + rng.normal(size=(40, 2)), truth)
    assert at_bound(19.99992)
    assert at_bound(0.05)
    assert not at_bound(19.0)
