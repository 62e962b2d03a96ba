"""The network and its recipe: windows with inserted nodules, chosen by the Dice of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.network_config import OURS, NetworkConfig
from MedLLMSegLib.training.loop_config import LoopConfig
from MedLLMSegLib.training.optimiser import schedule
from MedLLMSegLib.training.recipe import Moment, Recipe, ValidationScores

from .samples import HU_WINDOWS, Backgrounds, NoduleWindows
from .shapes import NoduleShape

NETWORK = replace(
    OURS,
    in_channels=len(HU_WINDOWS),
    classes=2,
    stem_channels=(8, 24, 32),
    width=48,
    heads=4,
    depth=2,
    llm=None,
)
VAL_FIRST = 10_000_019  # number of the first val window, far from those of training
VAL_WINDOWS = 16


@dataclass(frozen=True)
class NoduleLoop(LoopConfig):
    """The loop's settings. windows: that are scored on val."""

    windows: int = VAL_WINDOWS


class InsertedNodules(Recipe):
    """Learns inserted nodules. The network: image (B, 2, K, J, I) -> logits (B, 2, K, J, I).

    train, val: shapes, of other patients each; both are inserted into the training's scans.
    """

    tolerated = 3

    def __init__(
        self,
        config: NoduleLoop,
        backgrounds: Backgrounds,
        train: Sequence[NoduleShape],
        val: Sequence[NoduleShape],
    ):
        self.config = config
        self.samples = NoduleWindows(backgrounds, train, config.seed)
        others = NoduleWindows(backgrounds, val, config.seed)
        self.val = [others[VAL_FIRST + n] for n in range(config.windows)]
        # The batch as a whole, as a window may hold no nodule.
        self.criterion = DiceCELoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            batch=True,
            smooth_nr=1.0,
            smooth_dr=1.0,
        )

    def loss(self, network: nn.Module, batch: dict[str, Any], step: int) -> Tensor:
        loss: Tensor = self.criterion(network(batch["image"]).float(), batch["label"])
        return loss

    @torch.no_grad()
    def score(self, network: nn.Module, share: slice, progress: Progress) -> ValidationScores:
        device, scores = next(network.parameters()).device, ValidationScores()
        for window in self.val[share]:
            progress(f"looking at {window['case']}", 0.0)
            image = torch.from_numpy(window["image"])[None].to(device)
            found = network(image)[0].argmax(dim=0).cpu().numpy().astype("uint8")
            truth = window["label"][0]
            score = float(dice(found, truth, 1)) if truth.any() else float("nan")
            case = {"id": window["case"], "image": window["image"][:1], "label": window["label"]}
            scores.add(score, case, found)
        return scores

    def rate(self, moment: Moment) -> float:
        return schedule(moment.step, self.config.steps, self.config.warmup_steps)


def new_network(seed: int, config: NetworkConfig = NETWORK) -> nn.Module:
    """The network with its seed's first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(config)
