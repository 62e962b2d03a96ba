"""The arms of a diagnosis study, and the answers that a run keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.metrics.calibration import (
    TemperatureNotFound,
    calibrated_probabilities,
    fit_temperature,
)
from MedLLMSegLib.metrics.classification import youden_threshold
from MedLLMSegLib.metrics.classification_intervals import Answer
from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.registry.classifier_config import ClassifierConfig
from MedLLMSegLib.training.classifier.examples import Examples

# (train, val, test, seed) -> logits of val and of test
Baseline = Callable[[Examples, Examples, Examples, int], tuple[Array, Array]]


@dataclass(frozen=True)
class Arm:
    """One way of answering: a network or a plain baseline.

    config: of a network; None for a ``baseline``. like: the arm whose learning rate it takes; ""
    tunes its own. epochs: instead of the study's. view: what the arm sees of the cases; None for
    all. note: for the page.
    """

    title: str
    config: ClassifierConfig | None = None
    baseline: Baseline | None = None
    like: str = ""
    epochs: int | None = None
    view: Callable[[Examples], Examples] | None = None
    note: str = ""

    @property
    def network_config(self) -> ClassifierConfig:
        """The configuration of an arm that is a network."""
        if self.config is None:
            raise ValueError(f'the arm "{self.title}" is a plain baseline, not a network')
        return self.config


def calibrated_answers(val_truth: Array, val_logits: Array, test_logits: Array) -> Json:
    """Temperature and threshold chosen on val, and the probabilities of test, for a result.

    val_truth: (n,). Logits: (n, classes). Where no temperature can be fitted it is None, and the
    probabilities are those of the logits as they are.
    """
    fitted: float | None = None
    try:
        fitted = fit_temperature(val_logits, val_truth)
    except TemperatureNotFound:
        temperature = 1.0
    else:
        temperature = fitted
    val = calibrated_probabilities(val_logits, temperature)
    test = calibrated_probabilities(test_logits, temperature)
    is_binary = val.shape[1] == 2
    stored = test[:, 1] if is_binary else test  # of two classes the second's alone
    return {
        "temperature": None if fitted is None else round(fitted, 5),
        "threshold": round(youden_threshold(val_truth, val[:, 1]), 6) if is_binary else None,
        "test": np.round(stored, 6).tolist(),
    }


def answer_of(result: Json) -> Answer:
    """The probabilities (n, classes) of the test cases and the threshold in a run's result."""
    stored = np.asarray(result["test"], float)
    probabilities = np.stack([1 - stored, stored], 1) if stored.ndim == 1 else stored
    return probabilities, result["threshold"]


def parameter_counts(network: torch.nn.Module) -> dict[str, int]:
    """Trained and frozen parameters, and the trained ones outside the encoder."""
    beyond_encoder = sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and not name.startswith("encoder.")
    )
    return {**count_parameters(network), "trained_beyond_encoder": beyond_encoder}
