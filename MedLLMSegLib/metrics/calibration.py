"""How honest probabilities are: reliability tables, calibration errors and temperature scaling.

A reliability table, (bins, 3), sorts predictions into equal-width bins of confidence, the
probability of the likeliest class. Its columns are the number of predictions, the sum of their
confidences and the number of correct ones. Tables of several cases add up to that of all their
predictions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array

# Voxels further than this from every structure are ignored: nearly all are right and certain.
NEAR_MM = 5.0
VOXEL_BINS = 15
TEMPERATURES = (0.05, 20.0)  # the bounds of the search
IMAGE_BINS = 10  # fewer, as test sets of images are small
Spacing = tuple[float, float, float]


class TemperatureNotFound(UserError):
    """The best temperature lies at a bound of the search: none was found."""


def calibration_error(table: Array) -> float:
    """Expected calibration error (ECE) of a reliability table, 0 to 1; NaN for an empty one.

    0 means that predictions made with 80 % confidence are right in 80 % of the cases. Source: Guo
    et al., On Calibration of Modern Neural Networks, 2017.
    """
    count, confidence, correct = table.T
    total = count.sum()
    return float(np.abs(confidence - correct).sum() / total) if total else float("nan")


def voxel_calibration_error(
    probabilities: Array,
    labels: Array,
    bins: int = VOXEL_BINS,
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
) -> float:
    """ECE over the voxels of a segmentation that lie near a structure; NaN where there are none.

    Arguments: see `voxel_reliability`.
    """
    return calibration_error(voxel_reliability(probabilities, labels, bins, spacing_mm))


def voxel_reliability(
    probabilities: Array,
    labels: Array,
    bins: int = VOXEL_BINS,
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
) -> Array:
    """Reliability table (bins, 3) over the voxels near a structure (see `near_foreground`).

    Background further away is certain and right, and would hide every error.

    probabilities: (c, k, j, i), background first, summing to 1. labels: the true class of each
    voxel [k, j, i].
    """
    if probabilities.shape[1:] != labels.shape:
        raise ValueError(
            f"probabilities of shape {probabilities.shape} do not belong to labels of shape"
            f" {labels.shape}"
        )
    predicted = probabilities.argmax(0)
    near = near_foreground(labels, predicted, spacing_mm)
    confidence = probabilities.max(0)[near].astype(float)
    return _reliability_table(confidence, (predicted == labels)[near], bins)


def near_foreground(
    labels: Array, predicted: Array, spacing_mm: Spacing = (1.0, 1.0, 1.0)
) -> Array:
    """The voxels within `NEAR_MM` of a structure in either label map, as bool [k, j, i].

    labels, predicted: integer label maps [k, j, i]. All False where both are empty.
    """
    foreground: Array = (labels > 0) | (predicted > 0)
    if not foreground.any():
        return foreground
    distance_mm: Array = ndimage.distance_transform_edt(~foreground, sampling=spacing_mm)
    return distance_mm <= NEAR_MM


def image_calibration_error(truth: Array, probabilities: Array, bins: int = IMAGE_BINS) -> float:
    """ECE of a classifier over images. truth: (n,) classes. probabilities: (n, classes)."""
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == truth
    return calibration_error(_reliability_table(confidence, correct, bins))


def _reliability_table(confidence: Array, correct: Array, bins: int) -> Array:
    """The table (bins, 3) of predictions (n,), each with its confidence and whether it is right."""
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    columns = [
        np.bincount(index, minlength=bins),
        np.bincount(index, confidence, bins),
        np.bincount(index, correct.astype(float), bins),
    ]
    return np.stack(columns, 1).astype(float)  # (bins, 3)


def fit_temperature(logits: Array, truth: Array) -> float:
    """The temperature that makes logits (n, classes) most honest about ``truth`` (n,) classes.

    It has the smallest negative log-likelihood; choose it on the validation split. Raises
    `TemperatureNotFound`. Source: Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    rows = np.arange(len(truth))

    def negative_log_likelihood(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-log_probabilities[rows, truth].mean())

    return search_temperature(negative_log_likelihood)


def search_temperature(loss_of_log: Callable[[float], float]) -> float:
    """The temperature of the least loss between `TEMPERATURES`.

    loss_of_log: the loss of a temperature's logarithm. Raises `TemperatureNotFound` where a bound
    is as good as any: its value would be the answer, whatever it is.
    """
    bounds = np.log(TEMPERATURES)
    found = minimize_scalar(loss_of_log, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    temperature = float(np.exp(found.x))
    for bound, reason in zip(
        TEMPERATURES,
        ("hardly an answer is wrong", "the answers are no better than guesses"),
        strict=True,
    ):
        if loss_of_log(float(np.log(bound))) <= found.fun + 1e-9:
            raise TemperatureNotFound(
                f"No temperature could be fitted, as the search ended at its bound ({bound:g}):"
                f" {reason} in these cases. Calibrate on more cases, or train a better model first."
            )
    return temperature


def at_bound(temperature: float) -> bool:
    """Whether a temperature is a bound of the search and no fit, to a thousandth of it."""
    return any(abs(temperature / bound - 1) < 1e-3 for bound in TEMPERATURES)


def calibrated_probabilities(logits: Array, temperature: float) -> Array:
    """Probabilities (n, classes) of logits (n, classes) divided by a temperature."""
    probabilities: Array = softmax(np.asarray(logits, float) / temperature, axis=1)
    return probabilities
