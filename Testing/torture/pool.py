"""Runs cases in a child process that may crash or hang, and counts how they end."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Any, cast

ROOT = Path(__file__).resolve().parents[2]
# Those of `kinds`, which imports torch
KIND_NAMES = (
    "nifti", "nrrd", "mha", "png", "jpeg", "tiff", "dicom", "safetensors", "gguf", "bundle", "zip",
    "worker-requests", "worker-answers",
)  # fmt: skip
HANG_S = 10.0  # of the child's own processor time: this computer may be busy
LONGEST_WAIT_S = 90.0  # whatever the processor time: a child that sleeps hangs, too
START_S = 180.0
CASES_PER_CHILD = 2000
GOOD = ("read", "sentence")


@dataclass(frozen=True)
class Case:
    """One damaged file: its kind, and the seed and number that it is made from."""

    kind: str
    seed: int
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.seed} {self.number}"


@dataclass(frozen=True)
class Ending:
    """How a case ended.

    outcome: "read", "sentence", or a fault: "traceback", "wording" (of the sentence), "stray file",
    "crash", "hang" or "memory". seconds: of processor time.
    """

    case: Case
    outcome: str
    detail: str
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.outcome in GOOD


@dataclass
class Tally:
    """The counts of one kind, and the endings that are faults."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[Ending] = field(default_factory=list)
    slowest_s: float = 0.0

    def add(self, ending: Ending) -> None:
        self.counts[ending.outcome] += 1
        self.slowest_s = max(self.slowest_s, ending.seconds)
        if not ending.good:
            self.faults.append(ending)


class Child:
    """The process of `child`, started when it is needed, and again after a crash or a hang."""

    def __init__(self, box: Path) -> None:
        self.box = box
        self.process: subprocess.Popen[bytes] | None = None
        self.cases = 0

    def run(self, case: Case) -> Ending:
        """Run one case to its end, whatever that is."""
        if self.process is None or self.cases >= CASES_PER_CHILD:
            self._start()
        process = cast("subprocess.Popen[bytes]", self.process)
        self.cases += 1
        try:
            cast(IO[bytes], process.stdin).write(f"{case}\n".encode())
            cast(IO[bytes], process.stdin).flush()
            answer = self._answer(HANG_S, LONGEST_WAIT_S)
        except BrokenPipeError:
            answer = None
        if answer is None:
            return self._crash_or_hang(case)
        outcome = "memory" if answer["memory"] and answer["outcome"] == "traceback" else None
        return Ending(case, outcome or answer["outcome"], answer["detail"], answer["seconds"])

    def _start(self) -> None:
        self.close()
        shutil.rmtree(self.box, ignore_errors=True)
        self.box.mkdir(parents=True)
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1",
            "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "HOME": str(self.box / "home"),
        }  # fmt: skip
        self.log = open(self.box.with_suffix(".log"), "wb")  # noqa: SIM115 (closed with the child)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "Testing.torture.child", str(self.box)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, cwd=ROOT,
            env=environment,
        )  # fmt: skip
        self.cases = 0
        if self._answer(START_S, START_S) is None:
            self.close()
            raise RuntimeError(self.box.with_suffix(".log").read_text(errors="replace")[-3000:])

    def _answer(self, cpu_s: float, wall_s: float) -> dict[str, Any] | None:
        """The next line of the child; None if it died or took too long."""
        process = cast("subprocess.Popen[bytes]", self.process)
        out = cast(IO[bytes], process.stdout)
        began, began_cpu = time.monotonic(), _cpu_s(process.pid)
        while not select.select([out], [], [], 0.5)[0]:
            if time.monotonic() - began > wall_s or _cpu_s(process.pid) - began_cpu > cpu_s:
                return None
        line = out.readline()
        return json.loads(line) if line else None

    def _crash_or_hang(self, case: Case) -> Ending:
        process = cast("subprocess.Popen[bytes]", self.process)
        try:
            code = process.wait(2)
            outcome, detail = "crash", f"exit code {code}"
        except subprocess.TimeoutExpired:
            outcome, detail = "hang", f"no answer after {HANG_S} s"
        self.close()
        log = self.box.with_suffix(".log").read_text(errors="replace")[-3000:]
        return Ending(case, outcome, f"{detail}\n{log}")

    def close(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            cast(IO[bytes], self.process.stdin).close()
            cast(IO[bytes], self.process.stdout).close()
            self.log.close()
            self.process = None


def _cpu_s(pid: int) -> float:
    """Processor time that a process has used; infinite once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cases_in_turn(
    kinds: Sequence[str], seed: int, number: int | None, minutes: float
) -> Iterator[Case]:
    """One case of each kind after the other, until there are enough or the time is up."""
    until = time.monotonic() + 60 * minutes
    for n in count() if number is None else range(number):
        for kind in kinds:
            if time.monotonic() > until:
                return
            yield Case(kind, seed, n)


def run_cases(cases: Iterator[Case], keep: Path | None = None) -> dict[str, Tally]:
    """Run cases one after the other; the tallies by kind. keep: where to leave faulty files."""
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        child = Child(Path(folder) / "box")
        try:
            for case in cases:
                ending = child.run(case)
                tallies.setdefault(case.kind, Tally()).add(ending)
                if keep is not None and not ending.good:
                    _keep(ending, child.box / "in", keep)
        finally:
            child.close()
    return tallies


def _keep(ending: Ending, files: Path, keep: Path) -> None:
    case = ending.case
    target = keep / f"{case.kind}-{case.seed}-{case.number}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(files, target / "in", symlinks=True)
    (target / "what.txt").write_text(f"{ending.outcome}\n{ending.detail}\n", errors="replace")
