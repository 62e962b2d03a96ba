"""The table of speed, row by row, each in processes of its own."""

from __future__ import annotations

import fnmatch
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.version import __version__

from .measure import WHY, Job
from .row import Row, Setting

RESULTS = "bench.json"
LIBRARY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Plan:
    """What is measured.

    rows: the module of each row, and the row. rounds: None for each row's own number.
    """

    rows: Sequence[tuple[str, Row]]
    setting: Setting = field(default_factory=Setting)
    rounds: int | None = None

    def chosen(self, pattern: str | None, large: bool) -> Plan:
        """The rows whose name matches; the large ones only with ``large``, or by their own name.

        Raises `UserError` where none is left.
        """
        rows = [
            (module, row)
            for module, row in self.rows
            if self.setting.scale in row.scales
            and fnmatch.fnmatchcase(row.name, pattern or "*")
            and (large or not row.large or row.name == pattern)
        ]
        if not rows:
            names = ", ".join(row.name for _, row in self.rows)
            raise UserError(f'No row is named "{pattern}"; there are {names}.')
        return Plan(rows, self.setting, self.rounds)


def run_bench(plan: Plan, output: Path | None = None, progress: Report | None = None) -> Json:
    """Measure what is not measured yet; returns everything, which is also kept in ``output``.

    Stopped at any moment, the same call goes on after the last finished row.
    """
    path = None if output is None else output / RESULTS
    results = _earlier(path, plan)
    for (module, row), part in zip(
        plan.rows, Progress.of(progress).parts(len(plan.rows)), strict=True
    ):
        if row.name in results["rows"]:
            continue
        results["rows"][row.name] = _measured(
            module, row, plan, part.part(0, 1, f"{row.name}: {{}}")
        )
        if path is not None:
            write_text(path, json.dumps(results, indent=1) + "\n")
    return results


def _earlier(path: Path | None, plan: Plan) -> Json:
    """The results of a call that was stopped. `UserError` where they are of another setting."""
    about = about_this_machine(plan.setting)
    if path is None or not path.exists():
        return {"about": about, "rows": {}}
    results: Json = json.loads(path.read_text(encoding="utf-8"))
    if results["about"] != about:
        raise UserError(
            f'"{path}" was measured in another setting or with other versions; name another'
            " folder, or remove it."
        )
    return results


def about_this_machine(setting: Setting) -> Json:
    """What the figures belong to."""
    import SimpleITK
    import torch

    return {
        "medllmseg": __version__,
        "torch": torch.__version__,
        "SimpleITK": SimpleITK.Version.VersionString(),
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "device": setting.device,
        "scale": setting.scale,
        "threads": setting.threads,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _measured(module: str, row: Row, plan: Plan, progress: Progress) -> Json:
    """One row: its time, then each contestant's memory, which the tests do not compare."""
    about = {"title": row.title, "aim": row.aim}
    if plan.setting.on_cuda and not row.cuda:
        return {**about, WHY: "no work for a GPU"}
    steps = [None, *(row.contestants if row.memory and not plan.setting.quick else ())]
    found: Json = {}
    for contestant, part in zip(steps, progress.parts(len(steps)), strict=True):
        part(f"memory of {contestant}" if contestant else "time", 0.0)
        answer = _in_own_process(
            Job(module, row.name, plan.setting, contestant, plan.rounds), plan.setting
        )
        if contestant is None:
            found = answer
            if WHY in found:
                break
        elif WHY not in answer:
            found["contestants"][contestant].update(answer)
    _take_off(found, row.beside)
    return {**about, **found}


def _take_off(found: Json, beside: str | None) -> None:
    """What each contestant takes beside one of them."""
    contestants = found.get("contestants", {})
    base = contestants.get(beside, {}).get("memory_mib")
    for name, figures in contestants.items():
        if base is not None and name != beside and "memory_mib" in figures:
            figures["beside_mib"] = figures["memory_mib"] - base


def _in_own_process(job: Job, setting: Setting) -> Json:
    command = [sys.executable, "-m", "MedLLMSegLib.studies.speed.measure", job.to_json()]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(setting.threads)
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(
            f"Measuring {job.row} failed ({reason}); close other programs if memory ran out, and"
            " try again."
        )
    answer: Json = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _environment(threads: int) -> dict[str, str]:
    """Of a measuring process: this very library, and threads that sleep while they wait."""
    paths = [str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
    }


def listed(*modules: object) -> Iterator[tuple[str, Row]]:
    """The rows of modules, each with its module's name."""
    for module in modules:
        for row in module.ROWS:  # type: ignore[attr-defined]
            yield module.__name__, row  # type: ignore[attr-defined]
