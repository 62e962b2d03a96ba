"""The classifier's recipe: epochs over labelled images, or over the tokens of a frozen encoder, the
best epoch chosen by val AUC.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.metrics.calibration import calibrated_probabilities
from MedLLMSegLib.metrics.classification import area_under_roc
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.registry.config_checks import config_from_json, json_object
from MedLLMSegLib.training.checkpoint import fill_best
from MedLLMSegLib.training.devices import make_fabric
from MedLLMSegLib.training.loop_config import LoopConfig
from MedLLMSegLib.training.measure import AUC
from MedLLMSegLib.training.optimiser import schedule
from MedLLMSegLib.training.recipe import Moment, Recipe, ValidationScores
from MedLLMSegLib.training.trainer import Trainer

from .examples import USUAL_AUGMENTATION, Examples, Feed, ImageAugmentation, logits_of

CHECKPOINT_S = 30.0
PACE_STEPS = 3  # measured, after one that is not


@dataclass(frozen=True)
class ClassifierLoop:
    """How to train: AdamW with the paper's settings (arXiv 2312.03490), fewer epochs as two cores
    allow.

    warmup_epochs: of linear warm-up before the cosine. views: of each case, through a frozen
    encoder, the first one unchanged; 1 switches augmentation off there. augmentation: None switches
    it off everywhere. clip: of the gradients' norm.
    """

    epochs: int = 20
    batch: int = 16
    lr: float = 3e-4
    weight_decay: float = 0.02
    warmup_epochs: int = 2
    clip: float = 1.0
    views: int = 4
    augmentation: ImageAugmentation | None = USUAL_AUGMENTATION
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "lr", "clip", "views"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"ClassifierLoop.{name} is {getattr(self, name)!r}, and must be above 0."
                )
        if self.precision not in ("fp32", "bf16"):
            raise UserError(
                f"ClassifierLoop.precision is {self.precision!r}, and fp32 or bf16 is needed."
            )

    def to_dict(self) -> Json:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> ClassifierLoop:
        data = json_object(data, "the training")
        how = data.get("augmentation")
        augmentation = None if how in (None, {}) else config_from_json(ImageAugmentation, how)
        return config_from_json(cls, {**data, "augmentation": augmentation})


@dataclass(frozen=True)
class TrainedClassifier:
    """best_auc: on val, of the chosen epoch (from 1). epochs: trained in all. val_logits: (N,
    classes) of the chosen weights.
    """

    best_auc: float
    best_epoch: int
    epochs: int
    seconds: float
    val_logits: Array


class ClassifierRecipe(Recipe):
    """Learns labelled images.

    The network: a `Classifier`. train_tokens (views, n, S, width), val_tokens (n, S, width): of its
    frozen encoder, or None, then images go through the whole network.
    """

    whole_batches = True  # the last one of an epoch is smaller
    on_device = True
    measure = AUC

    def __init__(
        self,
        loop: ClassifierLoop,
        train: Examples,
        val: Examples,
        train_tokens: Tensor | None = None,
        val_tokens: Tensor | None = None,
        device: torch.device | str = "cpu",
    ):
        for part, examples in (("train on", train), ("choose the best epoch by", val)):
            if len(examples) < 2 or len(set(examples.target.tolist())) < 2:
                raise UserError(
                    f"There are {len(examples)} images to {part}, and at least two of different"
                    " classes are needed; label more images."
                )
        self.settings, self.val, self.val_tokens, self.device = loop, val, val_tokens, device
        self.samples = self.feed = Feed(
            train, train_tokens, loop.augmentation, loop.batch, loop.seed, device
        )

    @property
    def loop(self) -> LoopConfig:
        """The settings of the one loop; its weights are not averaged."""
        steps, settings = self.feed.steps, self.settings
        return LoopConfig(
            steps=settings.epochs * steps,
            batch=1,  # a sample is a batch
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            clip=settings.clip,
            ema=0.0,
            validate_every=steps,
            precision=settings.precision,
            log_every=steps,
            checkpoint_s=CHECKPOINT_S,
            seed=settings.seed,
        )

    def loss(self, network: nn.Module, batch: dict[str, Any], step: int) -> Tensor:
        return F.cross_entropy(network(batch["input"]).float(), batch["target"])

    @torch.no_grad()
    def score(self, network: nn.Module, share: slice, progress: Progress) -> ValidationScores:
        """The AUC of all val images, in full precision; no mean, so each process takes all."""
        progress("looking at the val images", 0.0)
        device = torch.device(self.device)
        with torch.autocast(device.type, enabled=False):
            logits = logits_of(network, self.val, self.val_tokens, device)  # type: ignore[arg-type]
        probabilities = calibrated_probabilities(logits, 1.0)
        return ValidationScores([area_under_roc(self.val.target.numpy(), probabilities)])

    def rate(self, moment: Moment) -> float:
        steps, epochs = self.feed.steps, self.settings.epochs
        warmup = min(self.settings.warmup_epochs, max(0, epochs - 1)) * steps
        return schedule(moment.step, epochs * steps, warmup)

    def seeded_by(self, step: int) -> int | None:
        """The epoch, at its first step."""
        epoch, number = divmod(step, self.feed.steps)
        return None if number else epoch

    def seconds_per_epoch(self, network: Classifier) -> float:
        """Measured on a few steps, after which every weight is as before; validation is reckoned
        at a third of a step.
        """
        before = {k: v.detach().clone() for k, v in trained_tensors(network).items()}
        taken = []
        network.train()
        for step in range(PACE_STEPS + 1):
            began = time.monotonic()
            self.loss(network, self.feed[step], step).backward()
            taken.append(time.monotonic() - began)
        network.zero_grad(set_to_none=True)
        network.load_state_dict(before, strict=False)
        each = float(np.median(taken[1:]))
        return each * (self.feed.steps + len(self.val) / self.settings.batch / 3)


def train_by(
    recipe: ClassifierRecipe,
    network: Classifier,
    output: str | Path,
    about: Json,
    progress: Report | None = None,
) -> TrainedClassifier:
    """Train in a folder to the end and put the best epoch's weights into the network; after a kill
    the same call goes on.

    about: what the folder belongs to (JSON-able): another training is refused there. progress:
    called after each step with (a line of text, fraction done); may raise `Cancelled`.
    """
    trainer = Trainer(
        network,
        recipe,
        recipe.loop,
        output,
        {**about, "loop": recipe.settings.to_dict()},
        fabric=make_fabric(str(recipe.device), recipe.settings.precision),
    )
    trained = trainer.run(progress)
    best = fill_best(network, output)
    return TrainedClassifier(
        trained.best_score,
        best["step"] // recipe.feed.steps,
        trained.steps // recipe.feed.steps,
        trained.seconds,
        logits_of(network, recipe.val, recipe.val_tokens, recipe.device),
    )


def epochs_for(minutes: float, seconds_per_epoch: float) -> int:
    """How many epochs fit, at least three; a tenth of the time is left for reading, writing and
    measuring.
    """
    return max(3, math.floor(60 * minutes * 0.9 / max(seconds_per_epoch, 1e-3)))
