"""The localizer's recipe: images synthesised at 3 mm, and whether kept-out heads' hippocampi are
found in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.training.recipe import Moment, Recipe, ValidationScores

from . import localizer_batches
from .localizer_batches import BatchOfStep, LocalizerSettings
from .subjects import Subject

LOWEST_RATE = 0.005  # of the peak
FIRST_VAL_STEP = 10_000_019  # val images are batches far beyond those of a training
VAL_BATCHES = 4
LEFT, RIGHT = 1, 2  # of the network's classes


class LocalizerRecipe(Recipe):
    """Learns where the hippocampi are.

    The network: image (B, 1, K, J, I) -> logits (B, 6, K, J, I). A sample is a whole batch, whose
    images have one size. heads, val: subjects to draw from.
    """

    whole_batches = True

    def __init__(
        self, settings: LocalizerSettings, heads: Sequence[Subject], val: Sequence[Subject]
    ):
        self.settings, self.criterion = settings, LocalizerLoss()
        self.samples = BatchOfStep(list(heads), settings)
        self.val = [
            localizer_batches.make_batch(list(val), settings, FIRST_VAL_STEP + n)
            for n in range(VAL_BATCHES)
        ]

    def loss(self, network: nn.Module, batch: dict[str, Any], step: int) -> Tensor:
        logits = network(batch["image"].contiguous(memory_format=torch.channels_last_3d))
        return self.criterion(logits.float(), batch["target"])

    @torch.inference_mode()
    def score(self, network: nn.Module, share: slice, progress: Progress) -> ValidationScores:
        """Mean Dice of the hippocampi that are in view, as thick as they are learnt."""
        scores, device = ValidationScores(), next(network.parameters()).device
        for number, (images, targets) in list(enumerate(self.val))[share]:
            progress(f"val batch {number + 1} of {len(self.val)}", number / len(self.val))
            found = network(images.to(device)).argmax(1).cpu().numpy()  # (B, K, J, I)
            true = targets.argmax(1).numpy()
            for n, image in enumerate(images.numpy()):
                there = [side for side in (LEFT, RIGHT) if (true[n] == side).any()]
                each = [dice(found[n], true[n], side) for side in there]
                case = {"id": f"synthetic {number}.{n}", "image": image, "label": true[n][None]}
                scores.add(float(np.mean(each)) if each else float("nan"), case, found[n])
        return scores

    def rate(self, moment: Moment) -> float:
        """Linear warm-up over a part of the budget, then a cosine."""
        done = moment.done
        factor = min(done / self.settings.warm_up, 0.5 + 0.5 * math.cos(math.pi * done))
        return max(LOWEST_RATE, factor)


class LocalizerLoss(nn.Module):
    """Soft Dice of each class over the batch plus cross-entropy, both against partial volumes."""

    weight: Tensor

    def __init__(self):
        super().__init__()
        # A smoothing of one voxel keeps a batch without hippocampi from counting as a total
        # failure.
        self.dice = DiceLoss(
            include_background=False,
            softmax=True,
            batch=True,
            soft_label=True,
            smooth_nr=1.0,
            smooth_dr=1.0,
        )
        weight = torch.tensor([1.0, 5.0, 5.0, 1.0, 1.0, 1.0])
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits, target: (B, 6, K, J, I); target sums to 1 over the classes. Returns a scalar."""
        cross_entropy = F.cross_entropy(logits, target, self.weight.to(logits.device))
        return self.dice(logits, target) + cross_entropy
