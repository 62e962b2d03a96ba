"""What the tests of the worker share: a client with what a test needs around it, and whether
processes live.
"""

import os
import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import Volume
from MedLLMSegLib.worker.array_files import save_volume
from MedLLMSegLib.worker.client import WorkerClient
from MedLLMSegLib.worker.protocol import STOP_S
from MedLLMSegLib.worker.work_units import Patience
from Testing.helpers.grids import GRIDS

ROOT = Path(__file__).parents[2]
STAND_IN = str(ROOT / "Testing/helpers/worker_stand_in.py")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
IMPATIENT = Patience(most_s=STOP_S)  # tests do not wait for what was never measured
GRID = GRIDS["oblique, flipped, permuted, anisotropic"]


class Owner(WorkerClient):
    """A client of the stand-in worker with what a test needs around it."""

    def __init__(
        self,
        folder: Path,
        python=sys.executable,
        arguments=(STAND_IN,),
        patience=IMPATIENT,
        **environment,
    ):
        super().__init__(
            python,
            {**os.environ, **environment},
            folder / "worker.log",
            arguments=arguments,
            patience=patience,
        )
        self.folder, self.seen = folder, {}

    def ask(self, deed="scan", array=None, **fields) -> int:
        """Segment a scan of that name."""
        array = (
            np.random.default_rng(1).integers(0, 900, GRID.shape).astype(np.int16)
            if array is None
            else array
        )
        place = self.folder / f"{deed} {random.random()}"
        save_volume(Volume(array, GRID.ijk_to_ras, deed), place)
        return self.submit(
            "segment", volume=place, output=place / "result", model="hippocampus-t1", **fields
        )

    def until(self, number, enough=lambda event: event.final, seconds=60):
        """The events of a request up to the one wanted."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for event in self.poll():
                self.seen.setdefault(event.id, []).append(event)
            events = self.seen.get(number, [])
            for n, event in enumerate(events):
                if enough(event):
                    return events[: n + 1]
            time.sleep(0.01)
        raise AssertionError(f"nothing of the kind in {seconds} s; {self.seen}; {self.log}")

    def busy(self, number):
        """Wait until the stand-in is in the middle of its work."""
        self.until(number, lambda event: event.stage == "segment")
        time.sleep(0.1)

    def pid(self) -> int:
        return self.until(self.submit("ping"))[-1].data["pid"]

    @property
    def pid_now(self) -> int | None:
        """Without asking, and so without waiting for its packages."""
        return self._process and self._process.server_pid

    @property
    def log(self) -> str:
        return Path(self.log_path).read_text(encoding="utf-8", errors="replace")


def cancelled_in(owner, number) -> float:
    began = time.monotonic()
    owner.cancel(number)
    last = owner.until(number)[-1]
    assert (last.event, last.kind, last.message) == ("error", "cancelled", "")
    return time.monotonic() - began


def lives(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
            != "Z"
        )
    except OSError:
        return False


def gone(*pids: int, seconds=10) -> bool:
    end = time.monotonic() + seconds
    while any(map(lives, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(lives, pids))
