"""Progress of one after another: images of a sequence, scans of a batch."""

from __future__ import annotations

import time
from collections.abc import Callable

# called with (stage, fraction from 0 to 1, seconds left or None)
ReportProgress = Callable[[str, float, float | None], None]


class CountedProgress:
    """Reports the progress within one of several as progress of all.

    report: of all. count: how many there are. finished: how many are done; raised by the caller.
    """

    def __init__(self, report: ReportProgress, count: int):
        self._report, self._count = report, count
        self._began = time.monotonic()
        self.finished = 0

    def __call__(self, stage: str, fraction: float, secondsLeft: float | None = None) -> None:
        done = (self.finished + fraction) / self._count
        left = None
        if self.finished:  # no estimate during the first: loading the model is part of its time
            left = (time.monotonic() - self._began) * (1 - done) / done
        self._report(f"{self.finished + 1} of {self._count}: {stage}", done, left)
