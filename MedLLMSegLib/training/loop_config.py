"""How the loop goes, whatever is trained: settings and budget."""

from __future__ import annotations

from dataclasses import dataclass

from MedLLMSegLib.core.progress import duration_text

from .checkpoint import TrainingState
from .measure import DICE, Measure

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

    def status(self, state: TrainingState, measure: Measure = DICE) -> str:
        """Where a training stands, in words."""
        scores = [row[measure.key] for row in state.history if measure.key in row]
        losses = [row["loss"] for row in state.history if "loss" in row]
        return (
            self._pace(state)
            + (f", loss {losses[-1]:.3f}" if losses else "")
            + (f", {measure.words} {scores[-1]:.4f} (best {state.best:.4f})" if scores else "")
        )

    def _pace(self, state: TrainingState) -> str:
        if self.minutes:
            left = max(0.0, 60 * self.minutes - state.seconds)
            return f"step {state.step}, {duration_text(left)} left"
        left = (self.steps - state.step) * state.seconds / max(1, state.step)
        return f"step {state.step} of {self.steps}, {duration_text(left)} left"


@dataclass(frozen=True)
class TrainResult:
    """What came of a training.

    best_score: of the recipe's measure, on val. stopped: "finished", or "early" when val got no
    better any more.
    """

    best_score: float
    steps: int
    seconds: float
    stopped: str
