"""The temperature of a model, fitted on labelled cases: by how much its logits are too sharp.

One number by which the logits are divided, so that the probabilities match how often the model is
right (Guo et al. 2017, arXiv 1706.04599).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.metrics.calibration import search_temperature

NEAR_VOX = 4  # voxels around the foreground on which a temperature is fitted
FIT_VOX = 200_000  # voxels of a case that are enough for one number


def fit_temperature(cases: Iterable[tuple[Array, Array]]) -> float:
    """The temperature of the least negative log-likelihood.

    cases: (logits [c, k, j, i], labels [k, j, i]) of cases that the network was not trained on.
    Only voxels within `NEAR_VOX` of the labelled or predicted foreground count: the many easy
    voxels far from it would decide alone. Raises `UserError` if there are no such voxels, or a
    label has no class, or the best temperature is a bound of the search.
    """
    logits, labels = [], []
    for case_logits, case_labels in cases:
        near_logits, near_labels = _near_foreground(case_logits, case_labels)
        logits.append(near_logits)
        labels.append(near_labels)
    if not any(len(case_labels) for case_labels in labels):
        raise UserError(
            "No structure is labelled or found in the cases for the calibration; give cases with"
            " labels."
        )
    all_logits, all_labels = np.concatenate(logits, axis=1), np.concatenate(labels)
    all_logits -= all_logits.max(axis=0)
    logits_of_label = all_logits[all_labels, np.arange(len(all_labels))]

    def negative_log_likelihood(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        normaliser = np.log(np.exp(all_logits / temperature).sum(axis=0))
        return float((normaliser - logits_of_label / temperature).mean())

    return search_temperature(negative_log_likelihood)


def _near_foreground(logits: Array, labels: Array) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """(logits (c, n), labels (n,)) of at most about `FIT_VOX` voxels near the foreground."""
    highest = int(labels.max(initial=0))
    if highest >= len(logits):
        raise UserError(
            f"A label map holds the value {highest}, and the model has classes up to"
            f" {len(logits) - 1}; check the labels."
        )
    foreground = (labels > 0) | (logits.argmax(axis=0) > 0)
    voxels = np.flatnonzero(ndimage.binary_dilation(foreground, iterations=NEAR_VOX))
    if len(voxels):
        every = -(-len(voxels) // FIT_VOX)
        voxels = voxels[::every]
    near_logits = logits.reshape(len(logits), -1)[:, voxels].astype(np.float64)  # (c, n)
    return near_logits, labels.reshape(-1)[voxels].astype(int)
