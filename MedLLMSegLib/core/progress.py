"""Progress of long work: reported by its parts, and printed on a terminal or in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

# A progress callback of a public function. It is called with (stage, fraction done from 0 to 1)
# and may raise `Cancelled` to stop the work.
Report: TypeAlias = Callable[[str, float], None]


@dataclass(frozen=True)
class Progress:
    """A progress reporter for one part of some work: call it with (stage, fraction from 0 to 1).

    report: the callback, or None if nobody listens. What it raises (`Cancelled`) stops the work.
    begin, end: the part of the callback's range 0 to 1 that this work covers.
    label: the text for the callback, in which {} stands for the stage.
    """

    report: Report | None = None
    begin: float = 0.0
    end: float = 1.0
    label: str = "{}"

    @classmethod
    def of(cls, report: Report | None) -> Progress:
        """A callback, or None if nobody listens, as a `Progress`."""
        return report if isinstance(report, cls) else cls(report)

    def __call__(self, stage: str, fraction: float) -> None:
        if self.report is None:
            return
        text = self.label.replace("{}", stage)
        self.report(text, self.begin + (self.end - self.begin) * fraction)

    def part(self, begin: float, end: float, label: str = "{}") -> Progress:
        """A reporter for the part of this work from ``begin`` to ``end``."""
        return Progress(self, begin, end, label)

    def parts(self, count: int, label: str = "{}") -> list[Progress]:
        """Reporters for ``count`` equal parts of this work, one after the other."""
        return [self.part(n / count, (n + 1) / count, label) for n in range(count)]


class ProgressLog:
    """Progress for a terminal or a log.

    It prints a line when the stage changes, and every half minute in between. The stage is the text
    before the first colon, such as the name of a run.
    """

    def __init__(self) -> None:
        self.stage = ""
        self.printed_at = 0.0

    def __call__(self, text: str, fraction: float) -> None:
        stage = text.split(":", maxsplit=1)[0]
        now = time.monotonic()
        if stage != self.stage or now - self.printed_at > 30:
            self.stage = stage
            self.printed_at = now
            print(f"{100 * fraction:5.1f} %  {text}", flush=True)


def duration_text(seconds: float) -> str:
    """A duration as text: "1 h 5 min", or below an hour "5 min 12 s"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
