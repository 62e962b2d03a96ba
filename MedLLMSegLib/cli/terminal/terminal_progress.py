"""Progress on a terminal: a bar over scans, and one line for a training, which can be stopped."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.core.progress import Progress

LINE_INTERVAL_S = 30  # between two lines where the output is not a terminal


class ScanBar:
    """A progress bar over scans with the time left. Silent where the output is not a terminal."""

    def __init__(self, scans: Sequence[Path]) -> None:
        self.scans = scans
        self._fractions: dict[int, float] = {}  # of each scan that was begun; several at once
        self._done = 0.0  # their sum

    def __enter__(self) -> ScanBar:
        from tqdm import tqdm

        self.bar = tqdm(
            total=len(self.scans),
            disable=None,
            unit="scan",
            leave=False,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def update(self, scan: int, stage: str, fraction: float) -> None:
        """scan: which one, from 0. fraction: of this scan."""
        text = f"[{scan + 1}/{len(self.scans)}] {self.scans[scan].name}: {stage}"
        self._done += fraction - self._fractions.get(scan, 0.0)
        self._fractions[scan] = fraction
        self.bar.set_description_str(text, refresh=False)
        self.bar.update(self._done - self.bar.n)

    def first(self) -> Progress:
        """The progress of the first scan, which often is the only one."""

        def report(stage: str, fraction: float) -> None:
            self.update(0, stage, fraction)

        return Progress(report)


class TrainingConsole:
    """Progress on one line of a terminal, or elsewhere a line every half minute. While it is
    entered, Ctrl-C and a polite kill let the training save first; a second one stops it at once.

    quiet: show no progress, because another process does.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._stop_requested = False
        self._last_line_at = 0.0
        self._earlier_handlers: dict[int, Any] = {}

    def __enter__(self) -> TrainingConsole:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._earlier_handlers[number] = signal.signal(number, self._request_stop)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._earlier_handlers.items():
            signal.signal(number, handler)
        if sys.stderr.isatty():
            print(file=sys.stderr)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop_requested:
            raise KeyboardInterrupt
        self._stop_requested = True

    def report(self, text: str, fraction: float) -> None:
        """Show progress. Raises `Cancelled` after Ctrl-C."""
        if self._stop_requested:
            raise Cancelled
        if self.quiet:
            return
        line = f"{100 * fraction:3.0f} %  {text}"
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._last_line_at > LINE_INTERVAL_S or fraction == 1:
            self._last_line_at = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def print(self, text: str) -> None:
        """Show a text such as a training's plan."""
        print(text, flush=True)
