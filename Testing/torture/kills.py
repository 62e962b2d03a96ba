"""Jobs killed at drawn moments: nothing is lost or half-written, and the next run ends well.

for tally in torture(["batch"], count=50, seed=0): print(tally)
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from .kill_tally import KillTally
from .killed_jobs import JOBS, KilledJob
from .killed_pairs import torture_pairs
from .killed_worker import torture_worker
from .killing import Kill, Run, run_forked
from .whole_files import age, damaged_files, temporary_files

CASES_PER_KILL = 3  # at most: a moment that is drawn may be after the end
SECOND_KILL = 0.25  # share of the cases in which the run after the kill is killed, too


@dataclass
class _Bench:
    """Where the cases of a job take place. whole: its run without a kill. outcome: of that one."""

    job: KilledJob
    folder: Path
    whole: Run = field(init=False)
    outcome: object = field(init=False)

    @property
    def box(self) -> Path:
        return self.folder / "box"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def run(self, kill: Kill | None = None) -> Run:
        return run_forked(lambda: self.job.run(self.box), self.log, kill)

    def reset(self) -> None:
        """The box as it was before the first run."""
        shutil.rmtree(self.box, ignore_errors=True)
        shutil.copytree(self.folder / "given", self.box)
        self.log.unlink(missing_ok=True)


def torture(names: Sequence[str], count: int, seed: int, minutes: float) -> Iterator[KillTally]:
    """Kill each job so many times, or until its share of the minutes is over."""
    for name in names:
        until = time.monotonic() + 60 * minutes / len(names)
        with tempfile.TemporaryDirectory(prefix="torture-kill-") as folder:
            if name == "worker":
                yield torture_worker(Path(folder), count, seed, until)
            elif name == "two":
                yield torture_pairs(Path(folder), count, seed, until)
            else:
                yield torture_job(JOBS[name], Path(folder), count, seed, until)


NAMES = (*JOBS, "worker", "two")


def torture_job(job: KilledJob, folder: Path, count: int, seed: int, until: float) -> KillTally:
    """The cases of one job."""
    bench = _Bench(job, folder)
    job.prepare(bench.folder / "given")
    # Paths stand in records and plans: what is given has to be where it will be used.
    bench.reset()
    bench.run()  # it reads the packages from the disk
    bench.reset()
    bench.whole = bench.run()
    tally = KillTally(job.name)
    if bench.whole.code != 0:
        tally.faults.append(f"the run without a kill failed\n{bench.log.read_text()[-2000:]}")
        return tally
    bench.outcome = job.outcome(bench.box)
    for number in range(CASES_PER_KILL * count):
        if tally.kills >= count or time.monotonic() > until:
            break
        rng = Random(f"{job.name} {seed} {number}")
        bench.reset()
        faults = _kill_once(bench, rng, number, tally)
        tally.faults += [f"{job.name} {seed} {number}: {fault}" for fault in faults]
    return tally


def drawn_kill(rng: Random, number: int, whole: Run) -> Kill:
    """Every second one at a deed on the disk, of which a run has far fewer than moments."""
    if number % 2:
        return Kill(deed=rng.randrange(whole.deeds))
    return Kill(after_s=rng.uniform(0, whole.seconds))


def _kill_once(bench: _Bench, rng: Random, number: int, tally: KillTally) -> list[str]:
    """One case: the faults that were found."""
    faults = []
    kills = [drawn_kill(rng, number, bench.whole)]
    if rng.random() < SECOND_KILL:
        kills.append(drawn_kill(rng, number, bench.whole))
    for kill in kills:
        run = bench.run(kill)
        tally.add(run)
        found = [*damaged_files(bench.box), *bench.job.faults(bench.box)]
        faults += [f"killed {kill}: {fault}" for fault in found]
    age(bench.box)
    again = bench.run()
    said = f"after kill {', '.join(map(str, kills))}"
    if again.code != 0:
        return [*faults, f"{said}: exit code {again.code}\n{bench.log.read_text()[-2000:]}"]
    faults += [f"{said}, in the end: {fault}" for fault in damaged_files(bench.box)]
    faults += [f"{said}: left behind: {name}" for name in temporary_files(bench.box)]
    outcome = bench.job.outcome(bench.box)
    if outcome != bench.outcome:
        faults.append(f"{said}: another outcome: {outcome}, not {bench.outcome}")
    return faults
