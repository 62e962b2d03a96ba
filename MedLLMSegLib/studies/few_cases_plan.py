"""The plan of the few-cases study: which trainings, with which settings, on which data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.training.segmenter.request import TrainRequest

from .study.runs import Run

VALIDATIONS = 3  # of each training: there are many more val cases than the few training cases
COUNTS = (3, 5, 10, 20)
Way = Literal["tuned", "new"]
WAYS: tuple[Way, ...] = ("tuned", "new")


@dataclass(frozen=True)
class FewCasesPlan:
    """What is trained and how.

    data: labelled cases with train, val and test splits. start: the model to fine-tune. counts:
    numbers of training cases. spacing, window: (k, j, i), instead of the planned ones; None keeps
    those. preset: the network that is trained from nothing. lr: learning rate of both ways; None
    takes each way's usual one. Both ways get the same cases and steps; val chooses the best
    weights.
    """

    data: str
    start: str
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    steps: int
    spacing: tuple[float, float, float] | None = None
    window: tuple[int, int, int] | None = None
    preset: str = "medvisionllama-fine"
    lr: float | None = None

    def settings(self) -> Json:
        """The settings that all runs share; results of other settings are another table."""
        return {
            "data": Path(self.data).name,
            "start": self.start,
            "steps": self.steps,
            "preset": self.preset,
            "spacing": self.spacing and list(self.spacing),
            "window": self.window and list(self.window),
            "optimiser": TrainRequest.optimiser,
            "lr": self.lr,
            "looks": VALIDATIONS,
        }

    def runs(self) -> list[Run]:
        """Every training; whole seeds first, so that a first table is soon complete."""
        return [
            Run(way, seed, str(count))
            for seed in self.seeds
            for count in self.counts
            for way in WAYS
        ]

    def runs_of(self, way: Way, count: int) -> list[Run]:
        """The trainings of one way and number of cases, one for each seed."""
        return [Run(way, seed, str(count)) for seed in self.seeds]

    def request(self, run: Run, folder: Path) -> TrainRequest:
        """The training of a run, in a folder of its own."""
        is_tuned = run.arm == "tuned"
        return TrainRequest(
            self.data,
            str(folder),
            name=run.name,
            cases=int(run.data),
            steps=self.steps,
            spacing=self.spacing,
            window=self.window,
            patience=0,
            validations=VALIDATIONS,
            seed=run.seed,
            lr=self.lr,
            start=self.start if is_tuned else TrainRequest.start,
            preset=TrainRequest.preset if is_tuned else self.preset,
        )
