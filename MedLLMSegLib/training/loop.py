"""The training loop of the segmenter: simple, seeded, resumable."""
from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from typing import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..cases import split_ids
from ..config import NetworkConfig
from ..errors import UserError
from ..llm.frozen import trained_tensors
from ..llm.store import resolve
from ..networks.build import build_network
from ..outputs import make_folder, whole_file, write_text
from .augment import noise_case, training_transform
from .data import find_cases, plan_preprocessing, prepare_case
from .losses import SegmentationLoss


@dataclass(frozen=True)
class TrainConfig:
    """How to train. window: voxels (k, j, i) of a training sample. noise_fraction: samples that are noise without organ."""

    epochs: int = 40
    batch: int = 2
    window: tuple[int, int, int] = (40, 48, 40)
    spacing_mm: float = 1.0
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 150
    clip: float = 1.0
    ema: float = 0.995
    noise_fraction: float = 0.03
    validate_every: int = 4
    bf16: bool = True
    seed: int = 0


def schedule(step: int, total: int, warmup: int) -> float:
    """Factor on the learning rate: linear warm-up, then a cosine down to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def update_average(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    """Exponential moving average of the trained tensors, in place."""
    for name, tensor in trained_tensors(network).items():
        average[name].lerp_(tensor.float(), 1 - decay)


@torch.no_grad()
def mean_dice(network: nn.Module, cases: list[dict[str, Tensor]], classes: int) -> float:
    """Mean over cases and structures of Dice on the prepared grid, for choosing an epoch; not a reported figure."""
    network.eval()
    scores = []
    for case in cases:
        winner = network(case["image"][None]).float().max(dim=1).indices[0]
        for label in range(1, classes):
            found, true = winner == label, case["label"][0] == label
            scores.append(2 * float((found & true).sum()) / max(1.0, float(found.sum() + true.sum())))
    return float(np.mean(scores))


class Trainer:
    """State of one training in a folder: it can be killed and started again."""

    def __init__(self, network_config: NetworkConfig, config: TrainConfig, data, output):
        self.network_config, self.config, self.output = network_config, config, make_folder(output)
        torch.manual_seed(config.seed)
        llm = network_config.llm
        self.network = build_network(network_config, resolve(llm.source, llm.layers) if llm else None)
        self.train_cases, self.val_cases = (
            [prepare_case(c, config.spacing_mm) for c in find_cases(data, split_ids(data, s))] for s in ("train", "val"))
        self.optimiser = torch.optim.AdamW([p for p in self.network.parameters() if p.requires_grad],
                                           lr=config.lr, weight_decay=config.weight_decay)
        self.average = {k: v.detach().float().clone() for k, v in trained_tensors(self.network).items()}
        self.steps_per_epoch = len(self.train_cases) // config.batch
        if not self.steps_per_epoch:
            raise UserError(f"{len(self.train_cases)} training cases are fewer than one batch of {config.batch}; "
                            "label more cases.")
        self.epoch, self.best, self.history = 0, 0.0, []

    def run(self, progress: Callable[[str, float], None] | None = None) -> None:
        """Train until the last epoch; call again after a kill to go on from the last whole epoch."""
        self._write_plan()
        self._resume()
        loss_function = SegmentationLoss()
        while self.epoch < self.config.epochs:
            began = time.monotonic()
            loss = self._epoch(loss_function)
            self.epoch += 1
            row = {"epoch": self.epoch, "loss": round(loss, 5), "seconds": round(time.monotonic() - began, 1)}
            if self.epoch % self.config.validate_every == 0 or self.epoch == self.config.epochs:
                row["val_dice"] = round(self._validate(), 5)
            self.history.append(row)
            self._checkpoint()
            if progress:
                progress(json.dumps(row), self.epoch / self.config.epochs)

    def _epoch(self, loss_function) -> float:
        config, losses = self.config, []
        rng = np.random.default_rng((config.seed, self.epoch))  # an epoch repeats exactly when it is resumed
        transform = training_transform(config.window, self.network_config.classes, int(rng.integers(2 ** 31)))
        order = rng.permutation(len(self.train_cases))
        self.network.train()
        for n in range(self.steps_per_epoch):
            batch = [transform(self.train_cases[i]) if rng.random() >= config.noise_fraction
                     else noise_case(config.window, rng) for i in order[n * config.batch:(n + 1) * config.batch]]
            images, labels = (torch.stack([torch.as_tensor(b[key]).float() for b in batch]) for key in ("image", "label"))
            losses.append(self._step(images, labels, loss_function, self.epoch * self.steps_per_epoch + n))
        return float(np.mean(losses))

    def _step(self, images: Tensor, labels: Tensor, loss_function, step: int) -> float:
        config = self.config
        factor = schedule(step, config.epochs * self.steps_per_epoch, config.warmup_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = config.lr * factor
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            logits = self.network(images)
        loss = loss_function(logits, labels)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"The loss is {loss.item()} at step {step}; the last good state is in {self.output}.")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_((p for p in self.network.parameters() if p.requires_grad), config.clip)
        self.optimiser.step()
        update_average(self.average, self.network, min(config.ema, (1 + step) / (10 + step)))
        return loss.item()

    def _validate(self) -> float:
        """Score the averaged weights on val and keep them if they are the best."""
        own = {k: v.clone() for k, v in trained_tensors(self.network).items()}
        self.network.load_state_dict(self.average, strict=False)
        score = mean_dice(self.network, self.val_cases, self.network_config.classes)
        self.network.load_state_dict(own, strict=False)
        if score >= self.best:
            self.best = score
            self._save("best.pt", {"weights": self.average, "epoch": self.epoch, "val_dice": score})
        return score

    def _checkpoint(self) -> None:
        self._save("last.pt", {
            "weights": trained_tensors(self.network), "average": self.average, "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch, "best": self.best, "history": self.history})
        write_text(self.output / "history.json", json.dumps(self.history, indent=1))

    def _write_plan(self) -> None:
        """What a bundle must know besides the weights."""
        plan = {"network": self.network_config.to_dict(), "train": asdict(self.config),
                "trained_on": len(self.train_cases), "chosen_on": len(self.val_cases),
                "preprocessing": plan_preprocessing(self.train_cases, self.config.spacing_mm)}
        path = self.output / "plan.json"
        if path.exists() and (self.output / "last.pt").exists() and json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(plan)):
            raise UserError(f'"{self.output}" holds a training with other settings or data; '
                            "choose another output folder, or go on with the settings it began with.")
        write_text(path, json.dumps(plan, indent=1))

    def _save(self, name: str, state: dict) -> None:
        with whole_file(self.output / name) as scratch:
            torch.save(state, scratch)

    def _resume(self) -> None:
        path = self.output / "last.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["weights"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.epoch = state["average"], state["epoch"]
        self.best, self.history = state["best"], state["history"]
