"""Calibration: a known temperature is recovered."""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.training.segmenter.bundle.temperature_fit import fit_temperature


def synthetic_case(temperature, shape=(12, 20, 20), classes=3, seed=0):
    """Logits that are too sharp by ``temperature``, with labels drawn from the right
    probabilities.
    """
    rng = np.random.default_rng(seed)
    right = rng.normal(size=(classes, *shape)) * 1.5
    drawn = np.log(
        -np.log(rng.uniform(size=right.shape))
    )  # Gumbel noise: the argmax is a draw from softmax(right)
    return (right * temperature).astype(np.float32), (right - drawn).argmax(0).astype(np.uint8)


@pytest.mark.parametrize("temperature", (0.5, 1.0, 3.0))
def test_a_known_temperature_is_recovered(temperature):
    cases = [synthetic_case(temperature, seed=n) for n in range(4)]
    assert fit_temperature(cases) == pytest.approx(temperature, rel=0.05)


def test_easy_voxels_far_from_the_foreground_do_not_decide():
    logits, labels = synthetic_case(3.0, (8, 24, 24))
    wide = np.zeros((3, 8, 24, 200), np.float32)
    wide[0] = 4.0  # background, right everywhere
    wide[..., :24] = logits
    truth = np.zeros(wide.shape[1:], np.uint8)
    truth[..., :24] = labels
    assert fit_temperature([(wide, truth)]) == pytest.approx(
        fit_temperature([(logits, labels)]), rel=0.2
    )


def test_a_temperature_needs_fitting_labels():
    logits, labels = synthetic_case(1.0)
    with pytest.raises(UserError, match="holds the value 3"):
        fit_temperature([(logits, labels + 1)])
    empty = np.stack([np.ones((4, 4, 4)), np.zeros((4, 4, 4))]).astype(np.float32)
    with pytest.raises(UserError, match="No structure"):
        fit_temperature([(empty, np.zeros((4, 4, 4), np.uint8))])


def test_a_bound_is_no_temperature():
    """Labels that no logit knows of: the more even the probabilities, the better."""
    logits, labels = synthetic_case(1.0)
    rng = np.random.default_rng(1)
    with pytest.raises(UserError, match="No temperature could be fitted"):
        fit_temperature([(40 * logits, rng.permutation(labels.ravel()).reshape(labels.shape))])
