"""One row in one process: time in rounds in which each contestant runs once, or one contestant's
memory.

Run as ``python -m MedLLMSegLib.studies.speed.measure JOB``, JOB in JSON; its last line is JSON.
torch takes its number of threads from OMP_NUM_THREADS.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from MedLLMSegLib.core.types import Json

from .arithmetic import Rounds, exponent, ratios
from .resident import forget_peak, now_mib, peak_mib
from .row import OURS, NotMeasured, Row, Run, Setting

EXPONENT, UPPER_EXPONENT = "exponent", "exponent of the larger sizes"
LEAST_FOR_HALVES = 4  # sizes
WHY = "not measured"  # the key of the reason in what is printed


@dataclass(frozen=True)
class Job:
    """What a process measures.

    module, row: where the row is. contestant: whose memory; None for the time of all. rounds: how
    often each runs; None for the row's own number.
    """

    module: str
    row: str
    setting: Setting
    contestant: str | None = None
    rounds: int | None = None

    def to_json(self) -> str:
        """As the process takes it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """What `to_json` wrote."""
        data = json.loads(text)
        return cls(**{**data, "setting": Setting(**data["setting"])})


def do(job: Job) -> Json:
    """What the job asks for; under `WHY` the reason where it cannot be had."""
    rows: tuple[Row, ...] = importlib.import_module(job.module).ROWS
    row = next(row for row in rows if row.name == job.row)
    try:
        if job.contestant is not None:
            return memory(row, job.contestant, job.setting)
        return timed(row, job.setting, job.rounds)
    except NotMeasured as reason:
        return {WHY: str(reason)}


def timed(row: Row, setting: Setting, rounds: int | None = None) -> Json:
    """Medians and ratios of a row, and its facts.

    With three rounds and more, a first one is left out: it allocates, and reads code and weights.
    Of a row of growth, the smallest size is called once before.
    """
    count = rounds or row.rounds
    with _ready(row, setting, list(row.contestants)) as runs:
        if row.voxels:
            next(iter(runs.values())).call()
        warm_up = [0] if count > 2 else []
        seconds = [
            {name: _seconds(run, setting) for name, run in runs.items()}
            for _ in range(count + len(warm_up))
        ][len(warm_up) :]
    gc.collect()
    processor, wall = (
        {name: [each[name][n] for each in seconds] for name in row.contestants} for n in (0, 1)
    )
    judged = wall if setting.on_cuda else processor
    return {
        "contestants": {
            name: {
                "processor_s": median(processor[name]),
                "wall_s": median(wall[name]),
                **({"voxels": row.voxels[name]} if row.voxels else {}),
            }
            for name in row.contestants
        },
        "rounds": count,
        "ratios": _exponents(row.voxels, judged) if row.voxels else ratios(judged, OURS),
        "facts": row.facts(setting) if row.facts else {},
    }


def _exponents(voxels: Mapping[str, int], seconds: Rounds) -> dict[str, float]:
    """The exponent over all sizes, and where there are several, over the upper half of them."""
    costs = [median(seconds[name]) for name in voxels]
    amounts = list(voxels.values())
    found = {EXPONENT: exponent(amounts, costs)}
    if len(amounts) >= LEAST_FOR_HALVES:
        upper = len(amounts) // 2
        found[UPPER_EXPONENT] = exponent(amounts[upper:], costs[upper:])
    return found


@contextmanager
def _ready(row: Row, setting: Setting, names: list[str]) -> Iterator[dict[str, Run]]:
    """The contestants made ready, and closed at the end."""
    runs: dict[str, Run] = {}
    try:
        for name in names:
            runs[name] = row.contestants[name](setting)
        yield runs
    finally:
        for run in runs.values():
            if run.close:
                run.close()


def _seconds(run: Run, setting: Setting) -> tuple[float, float]:
    """Processor and wall time of one call, with the processes that it starts."""
    before = _processor_s(run), time.perf_counter()
    run.call()
    if setting.on_cuda:
        _cuda().synchronize()
    return _processor_s(run) - before[0], time.perf_counter() - before[1]


def _cuda() -> Any:
    """torch's functions for NVIDIA GPUs. Not every row needs torch, and it takes a second."""
    import torch

    return torch.cuda


def _processor_s(run: Run) -> float:
    """Processor time so far of this process, those it waited for, and those that work for it."""
    other = run.other_processor() if run.other_processor else 0.0
    return time.process_time() + _ended_processes_s() + other


def _ended_processes_s() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory(row: Row, name: str, setting: Setting) -> Json:
    """What one call takes beside its input, and this process's peak with all that it holds."""
    with _ready(row, setting, [name]) as runs:
        run = runs[name]
        gc.collect()
        forget_peak()
        before = now_mib()
        if setting.on_cuda:
            _cuda().reset_peak_memory_stats()
            before_cuda = _cuda().memory_allocated()
        run.call()
        if run.other_peak_mib:
            peak = run.other_peak_mib()
            return {"memory_mib": peak, "peak_mib": peak}
        if setting.on_cuda:
            cuda = _cuda().max_memory_allocated()
            return {"memory_mib": (cuda - before_cuda) / 2**20, "peak_mib": cuda / 2**20}
        peak = peak_mib()
        return {"memory_mib": peak - before, "peak_mib": peak}


if __name__ == "__main__":
    _job = Job.from_json(sys.argv[1])
    print(json.dumps(do(_job)))
