"""Stopping a study after some minutes."""

from __future__ import annotations

import time

from MedLLMSegLib.core.errors import TimeIsUp
from MedLLMSegLib.core.progress import Progress, Report


def with_deadline(report: Report | None, minutes: float | None) -> Progress:
    """Passes reports on, and raises `TimeIsUp` once the minutes are over; None for no limit."""
    progress = Progress.of(report)
    if minutes is None:
        return progress
    deadline = time.monotonic() + 60 * minutes

    def report_in_time(text: str, fraction: float) -> None:
        progress(text, fraction)
        if time.monotonic() > deadline:
            raise TimeIsUp(f"{minutes:g} minutes are over")

    return Progress(report_in_time)
