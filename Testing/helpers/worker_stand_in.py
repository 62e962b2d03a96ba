"""A worker without torch, whose engine does what the scan's name says.

The tests of the worker run it as a script.
"""

import ctypes
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from MedLLMSegLib import Segmentation, UserError
from MedLLMSegLib.anatomy.structures import uncoded_structures
from MedLLMSegLib.worker.server import serve
from MedLLMSegLib.worker.tasks import Engine

STRUCTURES = uncoded_structures({1: "bright", 2: "nothing"})


def engine() -> Engine:
    """The engine.

    The variable IMPORT_S delays it by that many seconds. With NEEDS, the packages are missing until
    the file of that name exists.
    """
    time.sleep(float(os.environ.get("IMPORT_S", "0")))
    needed = os.environ.get("NEEDS")
    if needed and not Path(needed).exists():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    return Engine(
        load, segment, train, lambda: [{"name": "cpu", "title": "stand-in", "memory_gb": None}]
    )


def load(name, device, engine="torch"):
    """A model, after as many seconds as the variable LOAD_S says."""
    time.sleep(float(os.environ.get("LOAD_S", "0")))
    return (name, device)


def segment(
    volume, model, *, progress, side=None, probabilities=False, uncertainty=False, augment=0
):
    """Segment the bright voxels in five windows.

    After the second window comes the action in `ACTIONS` that the scan's name chooses, if any.
    """
    for n in range(5):
        progress("segment", n / 5)
        if n == 2 and volume.name in ACTIONS:
            ACTIONS[volume.name](progress)
    bright = volume.array > volume.array.mean(dtype=float)
    labels = volume.with_array(bright.astype(np.uint8))
    one = bright.astype(np.float32)
    name, device = model
    both = np.stack((one, 1 - one))
    return Segmentation(
        labels,
        STRUCTURES,
        confidence={1: 0.75, 2: float("nan")},
        probabilities=volume.with_array(both) if probabilities else None,
        notes=(f"{name} on {device}", f"side {side}, views {augment}"),
        model=name,
        seconds=0.5,
        uncertainty=volume.with_array(one / 3) if uncertainty else None,
    )


def train(fields, device, progress, say):
    say(f"a plan for {fields['source']}")
    for n in range(1000):
        progress(f"step {n} of 1000", n / 1000)
        time.sleep(0.02)


def slow(progress):
    for n in range(400):
        progress("segment", 0.4 + n / 1000)
        time.sleep(0.05)


def slow_down(progress):
    """Units of UNIT_S seconds, and then one of LONG_UNIT_S, all in one stage."""
    for fraction in (0.5, 0.7):
        time.sleep(float(os.environ["UNIT_S"]))
        progress("segment", fraction)
    time.sleep(float(os.environ["LONG_UNIT_S"]))
    progress("segment", 0.8)


def keep_the_interpreter(progress):
    re.match("(a+)+$", "a" * 60 + "b")  # takes centuries, in C, with the lock of the interpreter


def write_to_stdout(progress):
    print("a print of Python's")
    sys.stdout.write("no line end: \u2603\udc80")
    os.write(1, b'{"id": 1, "event": "result"}\n')
    libc = ctypes.CDLL(None)
    libc.printf(b"a printf of C's\n")
    libc.fflush(None)
    subprocess.run([sys.executable, "-c", "print('a print of a child')"], check=True)
    assert sys.stdin.read() == ""  # nobody takes our requests away


def fail(error):
    def deed(progress):
        raise error

    return deed


# What may happen during a segmentation, by the scan's name
ACTIONS = {
    "slow": slow,
    "slows down": slow_down,
    "hang": lambda progress: time.sleep(1e6),
    "hang with the lock": keep_the_interpreter,
    "print": write_to_stdout,
    "memory": fail(MemoryError()),
    "user": fail(UserError("The scan is upside down; turn it and try again.")),
    "unexpected": fail(ValueError("two\nlines of \u2603")),
    "exit": fail(SystemExit(3)),
    "die": lambda progress: os._exit(9),
    "crash": lambda progress: ctypes.string_at(0),
}

if __name__ == "__main__":
    serve(engine)
