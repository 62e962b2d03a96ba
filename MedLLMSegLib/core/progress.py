"""How far a long work is, in words: for a terminal or a log."""
from __future__ import annotations

import time


class Line:
    """Progress for a terminal or a log: a line whenever the stage changes, and every half minute between.

    The stage is what stands before the first colon of a text, such as the name of a run.
    """

    def __init__(self):
        self.stage, self.said_at = "", 0.0

    def __call__(self, text: str, fraction: float) -> None:
        stage = text.split(":")[0]
        if stage != self.stage or time.monotonic() - self.said_at > 30:
            self.stage, self.said_at = stage, time.monotonic()
            print(f"{100 * fraction:5.1f} %  {text}", flush=True)


def clock(seconds: float) -> str:
    """A duration as it is shown: "1 h 5 min", or below an hour "5 min 12 s"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
