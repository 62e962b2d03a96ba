"""How much training fits a time budget: steps and validations, at the speed measured here."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from MedLLMSegLib.segmentation.inference import predict
from MedLLMSegLib.training.loop_config import LoopConfig
from MedLLMSegLib.training.optimiser import finite_gradients, make_optimiser
from MedLLMSegLib.training.recipe import Recipe

VALIDATION_SHARE = 1 / 4  # of the time at most: thick scans in windows can take long to segment
SLACK = 0.05  # of the time, for pictures and checkpoints
LEAST_STEPS, LEAST_VALIDATIONS, TIMED_CASES = 20, 2, 3


@dataclass(frozen=True)
class TrainingSpeed:
    """Seconds of one training step, and of one validation on all val cases."""

    step_s: float
    validation_s: float

    def fit(self, seconds: float, validations: int) -> tuple[int, int]:
        """(steps, validations) that take about ``seconds``, the calibration at the end included.

        Fewer validations than asked for where these would take more than `VALIDATION_SHARE` of the
        time; never fewer than 20 steps and 2 validations, however little time there is.
        """
        affordable = int(VALIDATION_SHARE * seconds / max(self.validation_s, 1e-9)) - 1
        validations = min(validations, max(LEAST_VALIDATIONS, affordable))
        left = (1 - SLACK) * seconds - (validations + 1) * self.validation_s
        return max(LEAST_STEPS, int(left / self.step_s)), validations

    def summary(self, steps: int, validations: int) -> str:
        """For the screen: how the time is planned to be used."""
        minutes = (steps * self.step_s + (validations + 1) * self.validation_s) / 60
        return (
            f"  time            {steps} steps of {self.step_s:.2f} s and {validations + 1}"
            f" validations of {self.validation_s:.1f} s, as measured here: about"
            f" {minutes:.3g} minutes"
        )


def seconds_per_step(
    network: nn.Module,
    recipe: Recipe,
    config: LoopConfig,
    device,
    world: int = 1,
    count: int = 3,
) -> float:
    """The median time of ``count`` steps on the first samples, making the samples included. No
    weight is changed.

    Where workers make the samples, these cost time only as far as the workers fall behind. world:
    processes that share the batch.
    """
    share = max(1, config.batch // world)
    seconds, was_training = [], network.training
    network.to(device).train()
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = make_optimiser(config.optimiser, trained, 0.0, 0.0)  # steps of length 0
    for number in range(count + 1):
        began = time.monotonic()
        samples = [recipe.samples[number * share + n] for n in range(share)]
        made_s = time.monotonic() - began
        began = time.monotonic()
        _step(network, recipe, samples, optimiser, config.precision)
        step_s = time.monotonic() - began
        seconds.append(max(step_s, made_s / config.workers) if config.workers else made_s + step_s)
    network.zero_grad(set_to_none=True)
    network.train(was_training)
    return float(np.median(seconds[1:]))


def _step(
    network: nn.Module,
    recipe: Recipe,
    samples: list[dict[str, Any]],
    optimiser: torch.optim.Optimizer,
    precision: str,
) -> None:
    """A training step on a batch of samples."""
    device = next(network.parameters()).device
    batch = {
        key: value.to(device) if isinstance(value, torch.Tensor) else value
        for key, value in default_collate(samples).items()
    }
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.autocast(device.type, dtype, enabled=precision != "fp32"):
        loss = recipe.loss(network, batch, 0)
    network.zero_grad(set_to_none=True)
    loss.backward()
    if finite_gradients(network):  # else even a step of length 0 would spoil the weights
        optimiser.step()


@torch.no_grad()
def seconds_per_validation(
    network: nn.Module, cases: list[dict], window, device: torch.device, world: int = 1
) -> float:
    """Measured on a few of the prepared val cases (`data.prepare_set`), without changing a weight;
    the network lies on ``device``.

    window: voxels (k, j, i) that go through the network at once. world: processes that share the
    cases.
    """
    was_training, seconds = network.training, []
    network.eval()
    for n in np.linspace(0, len(cases) - 1, min(TIMED_CASES, len(cases))).astype(int):
        began = time.monotonic()
        predict(network, np.asarray(cases[n]["image"]), device, tuple(window))
        seconds.append(time.monotonic() - began)
    network.train(was_training)
    return float(np.median(seconds)) * math.ceil(len(cases) / world)
