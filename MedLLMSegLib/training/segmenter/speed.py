"""How much training fits a time budget: steps, and looks at the val cases, as fast as this
machine was measured to be.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from MedLLMSegLib.segmentation.inference import predict
from MedLLMSegLib.training.optimiser import finite_gradients, make_optimiser

from .losses import SegmentationLoss
from .sampling import SampleDataset
from .train_config import TrainConfig

LOOKING = (
    1 / 4
)  # of the time at most: thick scans in windows can take longer to look at than to train on
SLACK = 0.05  # of the time, for pictures and checkpoints
LEAST_STEPS, LEAST_LOOKS, TIMED_CASES = 20, 2, 3


@dataclass(frozen=True)
class TrainingSpeed:
    """Seconds of one training step, and of one look at all val cases."""

    step_s: float
    validation_s: float

    def fit(self, seconds: float, looks: int) -> tuple[int, int]:
        """(steps, looks) that take about so many seconds: up to ``looks`` looks, and a last one for
        the calibration.

        Fewer looks than asked for where these would take more than `LOOKING` of the time; never
        fewer than 20 steps and 2 looks, however little time there is.
        """
        affordable = int(LOOKING * seconds / max(self.validation_s, 1e-9)) - 1
        looks = min(looks, max(LEAST_LOOKS, affordable))
        left = (1 - SLACK) * seconds - (looks + 1) * self.validation_s
        return max(LEAST_STEPS, int(left / self.step_s)), looks

    def summary(self, steps: int, looks: int) -> str:
        """For the screen: what the plan of the time is."""
        minutes = (steps * self.step_s + (looks + 1) * self.validation_s) / 60
        return (
            f"  time            {steps} steps of {self.step_s:.2f} s and {looks + 1} looks at the"
            f" val cases of {self.validation_s:.1f} s, as measured here: about {minutes:.3g}"
            " minutes"
        )


def seconds_per_step(
    network: nn.Module,
    classes: int,
    cases: list[dict],
    config: TrainConfig,
    device,
    world: int = 1,
    count: int = 3,
) -> float:
    """Measured on the first samples, there and back, without changing a weight: the median, making
    the samples included.

    Where workers make the samples, these cost time only as far as the workers fall behind. world:
    processes that share the batch.
    """
    share = max(1, config.batch // world)
    samples = SampleDataset(
        cases, config.window, classes, config.augmentation, config.noise_fraction, config.seed
    )
    loss, taken, was_training = SegmentationLoss(), [], network.training
    network.to(device).train()
    still = make_optimiser(
        config.optimiser, [p for p in network.parameters() if p.requires_grad], 0.0, 0.0
    )
    for number in range(count + 1):
        began = time.monotonic()
        batch = [samples[number * share + n] for n in range(share)]
        made = time.monotonic()
        image, label = (
            torch.stack([b[key] for b in batch]).to(device) for key in ("image", "label")
        )
        with torch.autocast(
            torch.device(device).type,
            torch.float16 if config.precision == "fp16" else torch.bfloat16,
            enabled=config.precision != "fp32",
        ):
            logits = network(image)
        network.zero_grad(set_to_none=True)
        loss(logits, label).backward()
        if finite_gradients(network):  # else even a step of length 0 would spoil the weights
            still.step()
        stepped = time.monotonic() - made
        taken.append(
            max(stepped, (made - began) / config.workers)
            if config.workers
            else made - began + stepped
        )
    network.zero_grad(set_to_none=True)
    network.train(was_training)
    return float(np.median(taken[1:]))


@torch.no_grad()
def seconds_per_validation(
    network: nn.Module, cases: list[dict], window, device: torch.device, world: int = 1
) -> float:
    """Measured on a few of the prepared val cases (`data.prepare_set`), without changing a weight;
    the network lies on ``device``.

    window: voxels (k, j, i) that go through the network at once. world: processes that share the
    cases.
    """
    was_training, taken = network.training, []
    network.eval()
    for n in np.linspace(0, len(cases) - 1, min(TIMED_CASES, len(cases))).astype(int):
        began = time.monotonic()
        predict(network, np.asarray(cases[n]["image"][0]), device, tuple(window))
        taken.append(time.monotonic() - began)
    network.train(was_training)
    return float(np.median(taken)) * math.ceil(len(cases) / world)
