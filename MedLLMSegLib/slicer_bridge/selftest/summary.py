"""How a run of MedLLMSegTest ended and how long its checks took: in the console and the panel."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import slicer

from MedLLMSegLib.slicer_bridge.presenter.panel_state import message_fields

NAME = "MedLLMSegTest"
LONGEST_S = 180.0  # of the whole self-test, in Slicer's window
SLOWEST = 3  # checks that are named with their times


class Summary:
    """The checks of one run. seconds: title -> how long it took, of those that passed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.monotonic()

    @contextmanager
    def check(self, title: str) -> Iterator[None]:
        """One check. One that fails closes the run with a summary that names it."""
        say(title)
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            problem = str(error) or type(error).__name__
            self._close(f'FAILED at "{title}": {problem.splitlines()[0]}', failed=True)
            raise
        self.seconds[title] = time.monotonic() - began

    def passed(self, untested: Sequence[str]) -> None:
        """Close a run in which no check failed. untested: what could not be tested, and why."""
        for text in untested:
            say(f"NOT TESTED: {text}")
        slowest = sorted(self.seconds.items(), key=lambda entry: -entry[1])[:SLOWEST]
        say("Slowest: " + "; ".join(f"{seconds:.1f} s, {title}" for title, seconds in slowest))
        self._close(f"PASSED; {len(untested)} things could not be tested here.")

    def _close(self, outcome: str, failed: bool = False) -> None:
        total = time.monotonic() - self._began
        slow = f", more than the {LONGEST_S:.0f} s that it should take" if total > LONGEST_S else ""
        text = f"{len(self.seconds)} checks passed in {total:.0f} s{slow}. {outcome}"
        say(text)
        _show_in_panel(f"{NAME}: {text}", failed)


def say(text: str) -> None:
    """A line on the console."""
    print(f"{NAME}: {text}", flush=True)


def _show_in_panel(text: str, failed: bool) -> None:
    """Say it below the button Segment, and in the section Log, where the module is loaded."""
    module = getattr(slicer.modules, "medllmseg", None)
    widget = module.widgetRepresentation().self() if module is not None else None
    if widget is not None and widget.ui is not None:
        widget.log.say(text)
        widget.change(**message_fields(text, failed))
