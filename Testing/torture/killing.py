"""Runs a job in a process of its own and kills it, at a moment or at a deed on the disk.

The process is a fork of this one, which has imported what the job needs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_DEEDS = ("os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate")
LONGEST_S = 300.0


class Hang(Exception):
    """A job did not end."""


@dataclass(frozen=True)
class Kill:
    """When a process is killed: after so many seconds, or just before its n-th deed on the disk
    (opening for writing, making, renaming, removing). The other one is None.
    """

    after_s: float | None = None
    deed: int | None = None

    def __str__(self) -> str:
        return f"after {self.after_s:.3f} s" if self.deed is None else f"at deed {self.deed}"


@dataclass(frozen=True)
class Run:
    """How a process ended. killed: before its end. code: of its exit, if it was not killed.
    seconds: it lived. deeds: on the disk, of a process that was not killed.
    """

    killed: bool
    code: int
    seconds: float
    deeds: int


def run_forked(job: Callable[[], int], log: Path, kill: Kill | None = None) -> Run:
    """Run a job in a fork, and wait for its end. Raises `Hang` if it takes too long.

    job: returns an exit code. log: takes what it prints.
    """
    process = Forked(job, log, kill)
    return process.wait()


class Forked:
    """A job that runs in a fork of this process, from when this is made."""

    def __init__(self, job: Callable[[], int], log: Path, kill: Kill | None = None) -> None:
        self._kill = kill
        self._count = log.with_suffix(".deeds")
        self._count.unlink(missing_ok=True)
        self._began = time.monotonic()
        self._pid = os.fork()
        if self._pid == 0:
            _be_the_child(job, log, self._count, kill)

    def wait(self) -> Run:
        """Wait for the end, and kill on the way if that is due."""
        due = None if self._kill is None else self._kill.after_s
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            seconds = time.monotonic() - self._began
            if pid:
                break
            if due is not None and seconds >= due:
                os.kill(self._pid, signal.SIGKILL)
                due = None
            if seconds > LONGEST_S:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                raise Hang(f"no end after {LONGEST_S:.0f} s")
            time.sleep(0.002)
        code = os.waitstatus_to_exitcode(status)
        deeds = 0
        with suppress(OSError, ValueError):
            deeds = int(self._count.read_text())
        return Run(code == -signal.SIGKILL, code, seconds, deeds)


def _be_the_child(job: Callable[[], int], log: Path, count: Path, kill: Kill | None) -> None:
    """Never returns."""
    code = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        deeds = _Deeds(None if kill is None else kill.deed)
        sys.addaudithook(deeds.hear)
        code = job()
        deeds.on = False
        count.write_text(str(deeds.number))
    except BaseException:  # whatever it is, the fork must not go on with its parent's work
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class _Deeds:
    """Counts what a process does to the disk, and kills it just before the n-th."""

    def __init__(self, last: int | None) -> None:
        self.on, self.number, self._last = True, 0, last

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        """For `sys.addaudithook`."""
        if not self.on or not (event in _DEEDS or (event == "open" and _writes(arguments))):
            return
        if self.number == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.number += 1


def _writes(arguments: tuple[object, ...]) -> bool:
    path, _, flags = arguments
    return isinstance(flags, int) and bool(flags & _WRITES) and path != os.devnull
