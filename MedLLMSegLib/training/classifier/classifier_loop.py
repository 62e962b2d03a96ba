"""The training loop of classifiers: seeded, resumable after any kill to the same curve, the best
epoch chosen by val AUC.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report, duration_text
from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.metrics.calibration import calibrated_probabilities
from MedLLMSegLib.metrics.classification import area_under_roc
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.training.checkpoint import (
    BEST,
    LAST,
    fill_best,
    load,
    save,
    write_history,
    write_plan,
)
from MedLLMSegLib.training.optimiser import schedule

from .examples import USUAL_AUGMENTATION, Examples, Feed, ImageAugmentation, logits_of


@dataclass(frozen=True)
class LoopConfig:
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

    def __post_init__(self):
        for name in ("epochs", "batch", "lr", "clip", "views"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"LoopConfig.{name} is {getattr(self, name)!r}, and must be above 0."
                )
        if self.precision not in ("fp32", "bf16"):
            raise UserError(
                f"LoopConfig.precision is {self.precision!r}, and fp32 or bf16 is needed."
            )

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> LoopConfig:
        how = data.get("augmentation")
        return cls(**{**data, "augmentation": ImageAugmentation(**how) if how else None})


@dataclass
class ClassifierTrainingState:
    """What changes during a training, besides network and optimiser. epoch: how many are
    finished. seconds: over all runs.
    """

    epoch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class TrainedClassifier:
    """best_auc: on val, of the chosen epoch (from 1). epochs: trained in all. val_logits: (N,
    classes) of the chosen weights.
    """

    best_auc: float
    best_epoch: int
    epochs: int
    seconds: float
    val_logits: np.ndarray


class ClassifierTrainer:
    """One training in a folder; call `run` again after a kill and it goes on from the last finished
    epoch.

    network: a `networks.classifier.Classifier`. train_tokens (views, n, S, width), val_tokens (n,
    S, width): of its frozen encoder, or None, then images go through the whole network. about: what
    the folder belongs to (JSON-able): another training is refused there.
    """

    def __init__(
        self,
        network: Classifier,
        config: LoopConfig,
        train: Examples,
        val: Examples,
        output,
        about: dict,
        *,
        train_tokens: Tensor | None = None,
        val_tokens: Tensor | None = None,
        device="cpu",
    ):
        for part, examples in (("train on", train), ("choose the best epoch by", val)):
            if len(examples) < 2 or len(set(examples.target.tolist())) < 2:
                raise UserError(
                    f"There are {len(examples)} images to {part}, and at least two of different"
                    " classes are needed; label more images."
                )
        self.network, self.config = network.to(device), config
        self.val, self.val_tokens = val, val_tokens
        self.output, self.about, self.device = Path(output), about, torch.device(device)
        self.state = ClassifierTrainingState()
        self.feed = Feed(
            train, train_tokens, config.augmentation, config.batch, config.seed, self.device
        )
        self.trained = [p for p in network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.trained, lr=config.lr, weight_decay=config.weight_decay
        )

    def run(self, progress: Report | None = None) -> TrainedClassifier:
        """Train to the end and put the best epoch's weights into the network.

        progress: called after each step with (a line of text, fraction done); may raise
        `Cancelled`: the epoch that was begun is done again by the next call, in the very same way.
        """
        self._begin_or_go_on()
        report, state = Progress.of(progress), self.state
        while state.epoch < self.config.epochs:
            began = time.monotonic()
            loss = self._train_epoch(report)
            state.epoch += 1
            val_auc = area_under_roc(
                self.val.target.numpy(), calibrated_probabilities(self._val_logits(), 1.0)
            )
            state.seconds += time.monotonic() - began
            self._record_epoch(loss, val_auc)
        fill_best(self.network, self.output)
        report(self._line(0), 1.0)
        return TrainedClassifier(
            state.best, state.best_epoch, state.epoch, round(state.seconds, 1), self._val_logits()
        )

    def _record_epoch(self, loss: float, val_auc: float) -> None:
        """Write the epoch's line of history and its weights; a better epoch's are kept."""
        state, weights = self.state, trained_tensors(self.network)
        row = {
            "epoch": state.epoch,
            "loss": round(loss, 6),
            "val_auc": round(val_auc, 6),
            "seconds": round(state.seconds, 2),
        }
        state.history.append(row)
        if val_auc > state.best:
            state.best, state.best_epoch = val_auc, state.epoch
            best = {"weights": weights, "epoch": state.epoch, "val_auc": val_auc}
            save(self.output / BEST, best)
        optimiser = self.optimiser.state_dict()
        save(self.output / LAST, {"network": weights, "optimiser": optimiser, **vars(state)})
        write_history(self.output, state.history)

    def seconds_per_epoch(self, steps: int = 3) -> float:
        """Measured on a few steps, after which every weight is as before; validation is reckoned
        at a third of a step.
        """
        before = {k: v.detach().clone() for k, v in trained_tensors(self.network).items()}
        taken = []
        for number, parts in enumerate(self._forever()):
            began = time.monotonic()
            self._loss(*parts).backward()
            taken.append(time.monotonic() - began)
            if number == steps:
                break
        self.optimiser.zero_grad(set_to_none=True)
        self.network.load_state_dict(before, strict=False)
        each = float(np.median(taken[1:]))
        return each * (len(self.feed) + len(self.val) / self.config.batch / 3)

    def _forever(self):
        epoch = 0
        while True:
            yield from self.feed.epoch(epoch)
            epoch += 1

    def _train_epoch(self, report: Progress) -> float:
        config, epoch, steps = self.config, self.state.epoch, len(self.feed)
        began, losses = time.monotonic(), []
        self.network.train()
        with torch.random.fork_rng():
            torch.manual_seed(
                1_000_003 * config.seed + epoch
            )  # dropout too follows from seed and epoch
            for step, parts in enumerate(self.feed.epoch(epoch)):
                self._set_rate(epoch * steps + step, steps)
                loss = self._loss(*parts)
                if not torch.isfinite(loss):
                    raise UserError(
                        f"The loss became {loss.item()} in epoch {epoch + 1}; lower --lr, or look"
                        " at the images."
                    )
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.trained, config.clip)
                self.optimiser.step()
                losses.append(float(loss.detach()))
                done = epoch + (step + 1) / steps
                report(self._line(self._left(done, time.monotonic() - began)), done / config.epochs)
        return float(np.mean(losses))

    def _loss(self, tokens: Tensor | None, batch: dict, target: Tensor) -> Tensor:
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"
        ):
            logits = self.network(batch) if tokens is None else self.network.classify(tokens, batch)
        return F.cross_entropy(logits.float(), target)

    def _set_rate(self, step: int, steps: int) -> None:
        warmup = min(self.config.warmup_epochs, max(0, self.config.epochs - 1)) * steps
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.lr * schedule(step, self.config.epochs * steps, warmup)

    def _val_logits(self) -> np.ndarray:
        return logits_of(self.network, self.val, self.val_tokens, self.device)

    def _left(self, done: float, running: float) -> float:
        return (self.config.epochs - done) * (self.state.seconds + running) / max(done, 1e-6)

    def _line(self, left: float) -> str:
        state = self.state
        last = state.history[-1] if state.history else None
        return (
            f"epoch {min(state.epoch + 1, self.config.epochs)} of {self.config.epochs},"
            f" {duration_text(left)} left"
            + (
                f", loss {last['loss']:.3f}, val AUC {last['val_auc']:.3f} (best {state.best:.3f})"
                if last
                else ""
            )
        )

    def _begin_or_go_on(self) -> None:
        write_plan(make_folder(self.output), {**self.about, "loop": self.config.to_dict()})
        if (self.output / LAST).exists():
            saved = load(self.output / LAST)
            self.network.load_state_dict(saved.pop("network"), strict=False)
            self.optimiser.load_state_dict(saved.pop("optimiser"))
            self.state = ClassifierTrainingState(**saved)


def epochs_for(minutes: float, seconds_per_epoch: float) -> int:
    """How many epochs fit, at least three; a tenth of the time is left for reading, writing and
    measuring.
    """
    return max(3, math.floor(60 * minutes * 0.9 / max(seconds_per_epoch, 1e-3)))
