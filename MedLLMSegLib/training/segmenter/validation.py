"""Scoring the val cases with the averaged weights of a training."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.segmentation.inference import predict


def predict_labels(network: nn.Module, case: dict, device: torch.device, window: Triple) -> Array:
    """The label map uint8 (K, J, I) of a prepared case.

    window: voxels (k, j, i) that go through the network at once.
    """
    logits = predict(network, np.asarray(case["image"]), device, window)
    return logits.argmax(axis=0).astype(np.uint8)


def case_dice(labels: Array, truth: Array, classes: int) -> float:
    """Mean Dice of the structures that either map has, on the prepared grid; NaN without any.

    For choosing among weights: it is not a reported figure.
    """
    scores = [dice(labels, truth, value) for value in range(1, classes)]
    finite = [score for score in scores if np.isfinite(score)]
    return float(np.mean(finite)) if finite else float("nan")
