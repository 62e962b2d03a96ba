"""How the loop goes, whatever is trained: settings, budget, and which samples are whose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import Sampler

from MedLLMSegLib.core.progress import duration_text

from .checkpoint import TrainingState

NO_LIMIT = 2**31 - 1  # of steps, where minutes are the limit


@dataclass(frozen=True)
class LoopConfig:
    """How the loop goes.

    steps: optimiser updates in all. batch: samples of a step, over all processes. optimiser: one of
    `optimiser.OPTIMISERS`. validate_every: steps; 0 never. look_first: score the weights that it
    begins with too. patience: validations without a better score after which training stops early;
    0 never. log_every: steps of a line of history. workers: processes that make samples; 0 makes
    them here.
    """

    steps: int = 3000
    batch: int = 2
    optimiser: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 150
    clip: float = 1.0
    ema: float = 0.995
    validate_every: int = 300
    look_first: bool = False
    patience: int = 0
    precision: str = "fp32"
    log_every: int = 10
    checkpoint_s: float = 120.0
    workers: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Budget:
    """How long a training lasts, earlier runs included: steps or minutes, what is over first."""

    steps: int
    minutes: float | None = None

    def done(self, state: TrainingState) -> float:
        """The part that is used, from 0 to 1."""
        of_steps = state.step / self.steps
        of_time = state.seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(of_steps, of_time))

    def over(self, state: TrainingState) -> bool:
        return self.done(state) >= 1

    def status(self, state: TrainingState) -> str:
        """Where a training stands, in words."""
        scores = [row["val_dice"] for row in state.history if "val_dice" in row]
        losses = [row["loss"] for row in state.history if "loss" in row]
        return (
            self._pace(state)
            + (f", loss {losses[-1]:.3f}" if losses else "")
            + (f", val Dice {scores[-1]:.4f} (best {state.best:.4f})" if scores else "")
        )

    def _pace(self, state: TrainingState) -> str:
        if self.minutes:
            left = max(0.0, 60 * self.minutes - state.seconds)
            return f"step {state.step}, {duration_text(left)} left"
        left = (self.steps - state.step) * state.seconds / max(1, state.step)
        return f"step {state.step} of {self.steps}, {duration_text(left)} left"


@dataclass(frozen=True)
class TrainResult:
    """What came of a training. stopped: "finished", or "early" when val got no better any more."""

    best_val_dice: float
    steps: int
    seconds: float
    stopped: str


class BatchNumbers(Sampler[list[int]]):
    """The sample numbers of one process: its part of every batch from a step on.

    batch: samples of a step over all processes, divided evenly among them.
    """

    def __init__(self, first_step: int, steps: int, batch: int, rank: int = 0, world: int = 1):
        self.first_step, self.steps, self.batch = first_step, steps, batch
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.steps):
            yield list(range(step * self.batch + self.rank, (step + 1) * self.batch, self.world))

    def __len__(self) -> int:
        return max(0, self.steps - self.first_step)
