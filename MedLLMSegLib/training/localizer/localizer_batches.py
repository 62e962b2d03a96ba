"""The batches of the localizer's training: which heads, which sizes, and which targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from MedLLMSegLib.core.errors import UserError

from .subjects import Subject, load_head
from .synthesis import draw_sample

HELD_OUT = (16, 17, 18, 19, 20)  # numbers of the label maps that are for validation only
# Of a target's classes: background, left and right cerebrum, the rest. 1 and 2 are the hippocampi.
OTHER_CLASSES = [0, 3, 4, 5]


@dataclass(frozen=True)
class LocalizerSettings:
    """How to train.

    sizes: possible edge lengths of a batch's images, in voxels of 3 mm. sizes_p: their
    probabilities; each axis draws its own.
    """

    minutes: float = 25.0
    seed: int = 0
    batch: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    ema: float = 0.995
    warm_up: float = 0.03
    sizes: tuple[int, ...] = (64, 80, 96)
    sizes_p: tuple[float, ...] = (0.5, 0.4, 0.1)
    checkpoint_every_s: float = 150.0
    bf16: bool = True


def load_heads(folder, held_out: bool) -> list[Subject]:
    """The label maps to train on, or those kept out of training."""
    paths = [
        path
        for path in sorted(Path(folder).glob("training_seg_*.nii.gz"))
        if (_number(path) in HELD_OUT) == held_out
    ]
    if not paths:
        raise UserError(
            f'"{folder}" holds no label maps called training_seg_01.nii.gz and so on; '
            "give the folder brain_labelmaps of the shared data."
        )
    return [load_head(path) for path in paths]


def _number(path: Path) -> int:
    """16 for training_seg_16.nii.gz."""
    return int(path.name.split("_")[2].split(".")[0])


class BatchOfStep(Dataset[dict[str, Any]]):
    """Step -> {"image": (B, 1, K, J, I), "target": (B, 6, K, J, I), "case"}: a whole batch, as all
    images of one have the same size.
    """

    def __init__(self, heads: list[Subject], settings: LocalizerSettings):
        self.heads, self.settings = heads, settings

    def __len__(self) -> int:
        return 2**31  # as many as the training asks for

    def __getitem__(self, step: int) -> dict[str, Any]:
        image, target = make_batch(self.heads, self.settings, step)
        return {"image": image, "target": target, "case": [f"synthetic batch {step}"]}


def make_batch(
    heads: list[Subject], settings: LocalizerSettings, step: int
) -> tuple[Tensor, Tensor]:
    """Images (B, 1, K, J, I) in 0..1 and targets (B, 6, K, J, I) of a step.

    The same step always gives the same batch.
    """
    rng = np.random.default_rng([settings.seed, step])
    k, j, i = (int(n) for n in rng.choice(settings.sizes, 3, p=settings.sizes_p))
    samples = [draw_sample(heads, rng, (k, j, i)) for _ in range(settings.batch)]
    images = torch.from_numpy(np.stack([s.image for s in samples]))[:, None]  # (B, 1, K, J, I)
    targets = torch.from_numpy(np.stack([widened(s.target) for s in samples]))  # (B, 6, K, J, I)
    return images, targets


def widened(target: np.ndarray) -> np.ndarray:
    """A target [6, k, j, i] whose hippocampi are about 3 mm thicker, with the same centres.

    A hippocampus is only three voxels of 3 mm thick. At that size it was hardly learnt in the time
    available, and only its centre is wanted. The other classes give way, so the sum stays 1.
    """
    thick = np.stack(
        [np.clip(3 * ndimage.gaussian_filter(side, 1.2), 0, 1) for side in target[1:3]]
    )
    thick /= np.maximum(thick.sum(0), 1)
    left_over = 1 - thick.sum(0)
    others = target[OTHER_CLASSES]
    total = others.sum(0)
    rest = others / np.maximum(total, 1e-6) * left_over
    # Where there was nothing but hippocampus, what is left over becomes its own side's cerebrum.
    only_hippocampus = total < 1e-6
    rest[1] += only_hippocampus * left_over * (target[1] >= target[2])
    rest[2] += only_hippocampus * left_over * (target[1] < target[2])
    return np.concatenate((rest[:1], thick, rest[1:])).astype(np.float32)
