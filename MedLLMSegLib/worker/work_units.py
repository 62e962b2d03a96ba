"""How long a cancelled request may go on: three units of its work, as they were measured.

A unit is the time between two moments at which the worker looks whether it should stop: two
windows, two steps of a training, two layers of a network.
"""

from __future__ import annotations

from dataclasses import dataclass


class WorkUnits:
    """The longest unit of each stage, in seconds, since the worker's process began."""

    def __init__(self) -> None:
        self._longest: dict[str, float] = {}

    def add(self, stage: str, seconds: float) -> None:
        """A unit of a stage has taken so long."""
        self._longest[stage] = max(seconds, self._longest.get(stage, 0.0))

    def longest(self, stage: str) -> float | None:
        """None for a stage of which none was measured."""
        return self._longest.get(stage)


@dataclass(frozen=True)
class Patience:
    """How long a worker may go on with what was cancelled before its process is killed, and with it
    the models that it holds.

    units: so many of the longest unit that was measured. least_s, most_s: bounds of it in seconds;
    the upper one also where nothing was measured yet, as while a model is loaded.
    """

    units: int = 3
    least_s: float = 1.5
    most_s: float = 15.0

    def seconds(self, unit_s: float | None) -> float:
        """unit_s: the longest unit of the stage, or None."""
        if unit_s is None:
            return self.most_s
        return min(self.most_s, max(self.least_s, self.units * unit_s))
