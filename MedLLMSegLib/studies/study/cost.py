"""What an arm costs: measured in a process of its own, so that no other arm's memory counts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json


def in_own_process(module: str, arguments: Sequence[str], name: str) -> Json:
    """What a module, run with arguments, prints as JSON on its last line. name: of what is
    measured. Raises `UserError` where it fails.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(
            f"Measuring {name} failed ({reason}); close other programs if memory ran out, and try"
            " again."
        )
    found: Json = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@dataclass(frozen=True)
class Seconds:
    """The median time of a call: by the clock, and of the processor (all threads)."""

    wall: float
    processor: float


def median_seconds(work: Callable[[], object], count: int) -> Seconds:
    """Of ``count`` calls, after a first one, which allocates and is left out."""
    work()
    wall, processor = [], []
    for _ in range(count):
        began = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - began[0])
        processor.append(time.process_time() - began[1])
    return Seconds(float(np.median(wall)), float(np.median(processor)))
