"""How far a long work is: told by the work in parts, and shown on a terminal or in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

# called with (stage, fraction done from 0 to 1); may raise `Cancelled`
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class Progress:
    """Where a work says how far it is: call it with (stage, fraction from 0 to 1).

    report: who listens, or None for nobody; what it raises (`Cancelled`) stops the work.
    begin, end: which part of the listener's 0 to 1 this work is.
    label: what the listener reads, where {} stands for the stage.
    """

    report: Report | None = None
    begin: float = 0.0
    end: float = 1.0
    label: str = "{}"

    @classmethod
    def of(cls, report: Report | None) -> Progress:
        """A listener, or None for nobody, as a `Progress`."""
        return report if isinstance(report, cls) else cls(report)

    def __call__(self, stage: str, fraction: float) -> None:
        if self.report is not None:
            self.report(
                self.label.replace("{}", stage), self.begin + (self.end - self.begin) * fraction
            )

    def part(self, begin: float, end: float, label: str = "{}") -> Progress:
        """The part from ``begin`` to ``end`` of this work, for a work of its own."""
        return Progress(self, begin, end, label)

    def parts(self, count: int, label: str = "{}") -> list[Progress]:
        """As many equal parts, one after the other."""
        return [self.part(n / count, (n + 1) / count, label) for n in range(count)]


class ProgressLog:
    """Progress for a terminal or a log: a line when the stage changes, and every half minute
    between.

    The stage is what stands before the first colon of a text, such as the name of a run.
    """

    def __init__(self) -> None:
        self.stage = ""
        self.said_at = 0.0

    def __call__(self, text: str, fraction: float) -> None:
        stage = text.split(":", maxsplit=1)[0]
        if stage != self.stage or time.monotonic() - self.said_at > 30:
            self.stage, self.said_at = stage, time.monotonic()
            print(f"{100 * fraction:5.1f} %  {text}", flush=True)


def duration_text(seconds: float) -> str:
    """A duration as it is shown: "1 h 5 min", or below an hour "5 min 12 s"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
