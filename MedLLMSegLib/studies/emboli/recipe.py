"""How a network of this study is trained: windows with and without a clot, half and half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.metrics.classification import area_under_roc
from MedLLMSegLib.training.loop_config import LoopConfig
from MedLLMSegLib.training.measure import AUC
from MedLLMSegLib.training.optimiser import schedule
from MedLLMSegLib.training.recipe import Moment, Recipe, ValidationScores

from .scans import TouchedScan
from .windows import cut, turned

VAL_EACH = 256  # val windows with a clot, and as many without


class WindowSamples(Dataset[dict[str, Any]]):
    """Sample number -> a window (SLICES, 2, SIDE, SIDE) and whether a clot is at its middle."""

    def __init__(self, scans: Sequence[TouchedScan], zone: Array, seed: int, mirrored: bool = True):
        self.scans, self.seed, self.mirrored = scans, seed, mirrored
        self.positives = [
            (n, found) for n, scan in enumerate(scans) for found in scan.positives(zone)
        ]
        self.negatives = [
            (n, found) for n, scan in enumerate(scans) if len(found := scan.negatives(zone))
        ]
        if not self.positives or not self.negatives:
            raise UserError(
                "No filling defect could be inserted in one part of the scan: its arteries are too"
                " thin there; check the label of the pulmonary artery."
            )

    def __len__(self) -> int:
        return 2**31 - 1

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, number))
        is_clot = number % 2 == 0
        choices = self.positives if is_clot else self.negatives
        n, places = choices[rng.integers(len(choices))]
        place = places[rng.integers(len(places))]
        window = cut(self.scans[n].images, place[None])[0]
        window = turned(window, rng) if self.mirrored else window
        return {"window": torch.from_numpy(window), "clot": float(is_clot), "case": f"scan {n}"}


class ClotWindows(Recipe):
    """Learns to tell clots. score: AUC on fixed windows of val."""

    measure = AUC

    def __init__(self, train: WindowSamples, val: WindowSamples, config: LoopConfig):
        self.samples, self.config = train, config
        drawn = [val[n] for n in range(2 * VAL_EACH)]
        self.val_windows = torch.stack([each["window"] for each in drawn])
        self.val_truth = np.array([each["clot"] for each in drawn])

    def loss(self, network: nn.Module, batch: dict[str, Any], step: int) -> Tensor:
        logits = network(batch["window"])
        truth = batch["clot"].to(logits.dtype)
        return nn.functional.binary_cross_entropy_with_logits(logits, truth)

    @torch.no_grad()
    def score(self, network: nn.Module, share: slice, progress: Progress) -> ValidationScores:
        progress("looking at val", 0.0)
        device = next(network.parameters()).device
        chances = torch.cat(
            [network(part.to(device)).sigmoid().cpu() for part in self.val_windows.split(64)]
        ).numpy()
        area = area_under_roc(self.val_truth, np.stack([1 - chances, chances], 1))
        return ValidationScores([area])

    def rate(self, moment: Moment) -> float:
        return schedule(moment.step, self.config.steps, self.config.warmup_steps)
