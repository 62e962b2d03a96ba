"""The progress of one request, as the worker reports it to its owner."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.core.types import Json

from .work_units import WorkUnits

INTERVAL_S = 0.1  # between two progress events of one stage
LONGER = 1.5  # a unit that is so many times as long as the last one that was told is told at once


class RequestProgress:
    """The progress callback of one request: call it with (stage, fraction from 0 to 1).

    It sends "progress" events with the estimated time left, and raises `Cancelled` once the request
    was cancelled.

    send: sends one answer. number: the request's id. stop: set when the request is cancelled.
    units: of the process's work, for its owner to know how long it takes to hear a cancel.
    """

    def __init__(
        self,
        send: Callable[[Json], None],
        number: int,
        stop: threading.Event,
        units: WorkUnits | None = None,
    ) -> None:
        self.send = send
        self.number = number
        self.stop = stop
        self.units = units or WorkUnits()
        self._checked_at = 0.0
        self._told_unit_s = INTERVAL_S
        self._stage: str | None = None
        self._fraction = 1.0
        self._sent_at = 0.0
        self._unsent_history: list[Json] = []
        # when, and at which fraction, the work began from whose speed the time left is estimated
        self._began_at = 0.0
        self._began_fraction = 0.0

    def __call__(self, stage: str, fraction: float, history: Sequence[Json] = ()) -> None:
        """history: rows of a training's curve that are new since the last call."""
        self._end_unit()
        now = time.monotonic()
        # Loading a model takes the same time for every scan: it says nothing about the rest.
        if fraction < self._fraction or self._stage == "load":
            self._began_at, self._began_fraction = now, fraction
        # The text of a training changes with each step, its first word does not.
        new_stage = _first_word(stage) != _first_word(self._stage or "")
        if new_stage:
            self._told_unit_s = INTERVAL_S
        self._stage, self._fraction = stage, fraction
        self._unsent_history += history
        if new_stage or history or fraction >= 1 or now - self._sent_at >= INTERVAL_S:
            self._send(now)

    def _send(self, now: float) -> None:
        self.send(
            {
                "id": self.number,
                "event": "progress",
                "stage": self._stage,
                "fraction": round(self._fraction, 4),
                "seconds_left": self._seconds_left(now),
                "history": self._unsent_history,
                "unit_s": self._unit_s(),
            }
        )
        self._sent_at, self._unsent_history = now, []

    def _seconds_left(self, now: float) -> float | None:
        """None while too little was done for an estimate."""
        elapsed_s, done = now - self._began_at, self._fraction - self._began_fraction
        if elapsed_s <= 0.5 or done <= 0.02:
            return None
        return round(elapsed_s / done * (1 - self._fraction), 1)

    def check(self) -> None:
        """Raise `Cancelled` if the request was cancelled; a unit of work has ended."""
        unit_s = self._end_unit()
        if unit_s > LONGER * self._told_unit_s:
            self._told_unit_s = unit_s
            self._send(time.monotonic())

    def _end_unit(self) -> float:
        """How long the unit of work took that ends now. Raises `Cancelled`."""
        now = time.monotonic()
        unit_s = 0.0 if self._stage is None else now - self._checked_at
        self._checked_at = now
        if self._stage is not None:
            self.units.add(_first_word(self._stage), unit_s)
        if self.stop.is_set():
            raise Cancelled
        return unit_s

    def _unit_s(self) -> float | None:
        longest = self.units.longest(_first_word(self._stage or ""))
        return None if longest is None else round(longest, 3)

    def log(self, text: str) -> None:
        """Send a text for the log."""
        self.send({"id": self.number, "event": "log", "message": text})


def _first_word(text: str) -> str:
    return text.split(" ", maxsplit=1)[0]
