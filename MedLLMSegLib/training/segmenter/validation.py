"""Scoring the val cases with the averaged weights of a training."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.segmentation.inference import predict

EXAMPLES = 4  # cases of which pictures are drawn


@torch.no_grad()
def update_average(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    """Exponential moving average of the trained tensors, in place."""
    for name, tensor in trained_tensors(network).items():
        average[name].lerp_(tensor.float(), 1 - decay)


def predict_labels(network: nn.Module, case: dict, device: torch.device, window: Triple) -> Array:
    """The label map uint8 (K, J, I) of a prepared case.

    window: voxels (k, j, i) that go through the network at once.
    """
    logits = predict(network, np.asarray(case["image"][0]), device, window)
    return logits.argmax(axis=0).astype(np.uint8)


def case_dice(labels: Array, truth: Array, classes: int) -> list[float]:
    """Dice of each structure that either map has, on the prepared grid.

    For choosing among weights: it is not a reported figure.
    """
    scores = (dice(labels, truth, value) for value in range(1, classes))
    return [score for score in scores if np.isfinite(score)]


@dataclass
class ValidationScores:
    """Mean Dice of each case, NaN where no structure is labelled or found, and some cases with
    their label maps.
    """

    means: list[float] = field(default_factory=list)
    examples: list[tuple[dict, Array]] = field(default_factory=list)

    def add(self, case: dict, labels: Array, classes: int) -> None:
        """Score the label map of a prepared case."""
        scores = case_dice(labels, case["label"][0], classes)
        self.means.append(float(np.mean(scores)) if scores else float("nan"))
        if len(self.examples) < EXAMPLES:
            self.examples.append((case, labels))

    @property
    def finite(self) -> list[float]:
        """The means that are numbers."""
        return [mean for mean in self.means if np.isfinite(mean)]
