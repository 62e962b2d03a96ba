"""The segmenter's recipe: windows of labelled cases, and the Dice of whole val cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.training.optimiser import schedule
from MedLLMSegLib.training.recipe import Moment, Recipe, ValidationScores
from MedLLMSegLib.training.segmenter.samples.sampling import SampleDataset, changed_case
from MedLLMSegLib.training.trainer import Trainer

from .losses import SegmentationLoss
from .train_config import TrainConfig
from .validation import case_dice, predict_labels


class LabelledCases(Recipe):
    """Learns labelled cases.

    The network: image (B, C, K, J, I) -> logits (B, classes, K, J, I); in training mode a list of
    logits, finest first, is deep supervision. train, val: prepared cases (`prepare_set`). With
    ``--augmentation scanners`` the weights are chosen on the val cases as they are and as another
    scanner would give them (`changed_case`), half and half: as they are alone, they would choose
    what knows their own scanner best.
    """

    def __init__(self, classes: int, config: TrainConfig, train: list[dict], val: list[dict]):
        if not train or not val:
            raise UserError(
                f"There are {len(train)} cases to train on and {len(val)} to choose the best"
                " weights on, and at least one of each is needed; label more cases."
            )
        self.classes, self.config, self.val = classes, config, val
        if config.augmentation.scanners:
            changed = [
                changed_case(case, classes, config.augmentation, n) for n, case in enumerate(val)
            ]
            self.val = [case for pair in zip(val, changed, strict=True) for case in pair]
        self.samples = SampleDataset(
            train, config.window, classes, config.augmentation, config.noise_fraction, config.seed
        )
        self.criterion = SegmentationLoss()

    def loss(self, network: nn.Module, batch: dict[str, Any], step: int) -> Tensor:
        return self.criterion(network(batch["image"]), batch["label"])

    @torch.no_grad()
    def score(self, network: nn.Module, share: slice, progress: Progress) -> ValidationScores:
        device, scores = next(network.parameters()).device, ValidationScores()
        for case in self.val[share]:
            progress(f"looking at {case['id']}", 0.0)
            labels = predict_labels(network, case, device, self.config.predict_window)
            scores.add(case_dice(labels, case["label"][0], self.classes), case, labels)
        return scores

    def rate(self, moment: Moment) -> float:
        return schedule(moment.step, self.config.steps, self.config.warmup_steps)


def case_trainer(
    network: nn.Module,
    classes: int,
    config: TrainConfig,
    train: list[dict],
    val: list[dict],
    output: str | Path,
    about: Json,
    *,
    fabric: Any = None,
    on_validation: Callable | None = None,
) -> Trainer:
    """The training of a segmenter on labelled cases in a folder (see `Trainer`)."""
    recipe = LabelledCases(classes, config, train, val)
    return Trainer(
        network, recipe, config, output, about, fabric=fabric, on_validation=on_validation
    )
