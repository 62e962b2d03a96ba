"""The runs of a study: an arm, a seed and a share of the data; and the tuning of learning rates."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from MedLLMSegLib.core.types import Json


@dataclass(frozen=True)
class Run:
    """One training and its test.

    data: the share of the training cases, such as "10"; "" where a study has one. lr: of a tuning
    run, whose learning rate is chosen by on val and which is never tested; None for a run that
    counts.
    """

    arm: str
    seed: int
    data: str = ""
    lr: float | None = None

    @property
    def name(self) -> str:
        """The key of its result, and its folder."""
        if self.lr is not None:
            return f"tune-{self.arm}-lr{self.lr:g}"
        return "-".join(filter(None, [self.arm, self.data, str(self.seed)]))

    def matches(self, pattern: str) -> bool:
        """Whether its name or its arm's is meant. pattern: shell wildcards, separated by commas."""
        return any(
            fnmatch.fnmatchcase(name, one)
            for one in pattern.split(",")
            for name in (self.name, self.arm)
        )


@dataclass(frozen=True)
class Tuning:
    """How each arm comes to its learning rate.

    rates: tried with one seed and share of the data; a single one is taken as it is. score: of a
    result on val, by which the best is taken, the lowest of equals. like: arm -> the arm whose rate
    it takes. plain: arms without a rate.
    """

    rates: tuple[float, ...]
    score: str
    seed: int = 0
    data: str = ""
    like: Mapping[str, str] = field(default_factory=dict)
    plain: Collection[str] = ()

    def runs_of(self, arm: str) -> dict[float, Run]:
        """Rate -> the run that tries it for an arm, or for the arm that it is like."""
        tuned = self.like.get(arm, arm)
        return {lr: Run(tuned, self.seed, self.data, lr) for lr in sorted(self.rates)}

    def runs(self, arms: Sequence[str]) -> list[Run]:
        """All tuning of these arms, arm by arm; none for a single rate."""
        if len(self.rates) == 1:
            return []
        own = [arm for arm in arms if arm not in self.like and arm not in self.plain]
        return [Run(arm, self.seed, self.data, lr) for arm in own for lr in self.rates]

    def best(self, arm: str, results: Mapping[str, Json]) -> float | None:
        """The rate that an arm takes; None unless all its tuning is finished. results: run's name
        -> result.
        """
        if len(self.rates) == 1:
            return self.rates[0]
        tried = self.runs_of(arm)
        if not all(run.name in results for run in tried.values()):
            return None
        return max(tried, key=lambda lr: results[tried[lr].name][self.score])
