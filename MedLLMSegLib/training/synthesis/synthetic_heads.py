"""The brain model's recipe: heads that are synthesised on the way, and the Dice of synthetic ones.

Each step trains the logits of one voxel of each block that the network folds, another one each
time: an eighth of the last layer's work, and of its memory, for the very features of all voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.training.recipe import EXAMPLES, Moment, Recipe, ValidationScores

from .draw import Shape
from .head_maps import HeadMap
from .recipe import (
    HeadSamples,
    StructureAndSideLoss,
    found_numbers,
    mean_dice,
    true_numbers,
    val_heads,
    voxel_of_blocks,
)
from .sample import SynthesisConfig, SyntheticHead

LOWEST_RATE = 0.01  # of the peak


@dataclass(frozen=True)
class HeadsConfig:
    """shape: voxels (k, j, i) of a sample, 1 mm. val_shape, val_images: of the images that are
    scored. decay: the last part of the budget, over which the rate falls to nothing; 0 for a
    training that may go on.
    """

    shape: Shape = (128, 160, 128)
    val_shape: Shape = (128, 160, 128)
    val_images: int = 8
    warmup_steps: int = 100
    decay: float = 0.0


class SyntheticHeads(Recipe):
    """Learns heads that are drawn from label maps.

    The network: image (B, 1, K, J, I), voxel -> logits (B, classes + 1, K / f, J / f, I / f) (see
    `MedVisionLlama`). fold: its f. train, val: the maps to draw from.
    """

    tolerated = 3
    on_device = True

    def __init__(
        self,
        config: HeadsConfig,
        fold: int,
        train: Sequence[HeadMap],
        val: Sequence[HeadMap],
        seed: int,
        device: torch.device | str = "cpu",
    ):
        self.config, self.fold = config, fold
        self.samples = HeadSamples(train, SynthesisConfig(shape=config.shape), seed, device)
        drawn_like = SynthesisConfig(shape=config.val_shape)
        self.val = val_heads(val, drawn_like, config.val_images, device)
        self.criterion = StructureAndSideLoss()

    def loss(self, network: nn.Module, batch: dict[str, Any], step: int) -> Tensor:
        voxel = voxel_of_step(step, self.fold)
        image = batch["image"].contiguous(memory_format=torch.channels_last_3d)
        logits = network(image, voxel)
        structures, sides = (
            voxel_of_blocks(batch[name], voxel, self.fold) for name in ("structures", "sides")
        )
        return self.criterion(logits, structures, sides)

    def score(self, network: nn.Module, share: slice, progress: Progress) -> ValidationScores:
        scores, heads = ValidationScores(), list(enumerate(self.val))[share]
        for number, head in heads:
            progress(f"val image {number + 1} of {len(self.val)}", number / len(self.val))
            found, true = found_numbers(network, head), true_numbers(head)
            case = as_case(head, true, number) if len(scores.examples) < EXAMPLES else {}
            scores.add(mean_dice(found, true), case, found.cpu().numpy())
        return scores

    def rate(self, moment: Moment) -> float:
        """The same all the time after the warm-up, so that a training can be made longer, and at
        the very end down to nothing (Hägele et al., arXiv 2405.18392).
        """
        warm = min(1.0, (moment.warm_step + 1) / self.config.warmup_steps)
        if not self.config.decay:
            return warm
        return warm * max(LOWEST_RATE, min(1.0, (1 - moment.done) / self.config.decay))


def voxel_of_step(step: int, fold: int) -> int:
    """Which voxel of the blocks a step trains: each once in fold^3 steps, in an order that shifts
    from round to round.
    """
    count = fold**3
    return (step * 5 + step // count) % count


def as_case(head: SyntheticHead, numbers: Tensor, number: int) -> dict[str, Any]:
    """A val image as `curves.draw_examples` takes it."""
    image, labels = (array.cpu().numpy()[None] for array in (head.image, numbers))
    return {"id": f"synthetic head {number}", "image": image, "label": labels}
