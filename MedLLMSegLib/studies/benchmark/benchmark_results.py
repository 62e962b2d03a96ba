"""What is finished: result.json of each run's folder, and one small file that outlives the
folders.
"""

from __future__ import annotations

import json
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import write_text

from .benchmark_plan import LEARNING_RATES, BenchmarkRun, BenchmarkSettings
from .recorded_settings import refuse_other

RESULT = "result.json"
COLLECTED = "benchmark-results.json"


class BenchmarkResults:
    """The finished runs of one benchmark, kept in `path`, which is committed with the repository.

    runs: name -> result. measured, memory: what `--measure` and `--memory` found. groups: case id
    -> head or patient. structures: names in the order of their labels. Several processes may share
    the file and the folder of runs.
    """

    def __init__(
        self, path: Path, settings: BenchmarkSettings, groups: dict[str, str], structures: list[str]
    ):
        self.path, self.settings = Path(path), settings.to_dict()
        found = _read(self.path) if self.path.exists() else {}
        if found:
            refuse_other(found.get("settings", {}), self.settings, self.path)
        self.groups, self.structures = groups, structures
        self.runs: dict[str, dict] = found.get("runs", {})
        self.measured: dict[str, dict] = found.get("measured", {})
        self.memory: dict[str, dict] = found.get("memory", {})
        self._read_from_disk = {"measured": self.measured, "memory": self.memory}

    def gather(self, output: Path) -> None:
        """Take in the finished runs below a folder, and keep them."""
        fresh = {}
        for path in sorted(Path(output).glob(f"*/{RESULT}")):
            if path.parent.name not in self.runs:
                fresh[path.parent.name] = _read(path)
        if fresh:
            self.runs |= fresh
            self.save()

    def save(self) -> None:
        """Write all, one line a run, so that a commit shows which runs are new.

        What another process on the same file has added since it was read stays. (Should two write
        within the same milliseconds, the next `gather` takes the lost run from its folder.)
        """
        self._merge(_read(self.path) if self.path.exists() else {})
        parts = {
            "settings": self.settings,
            "structures": self.structures,
            "groups": self.groups,
            "measured": self.measured,
            "memory": self.memory,
        }
        lines = [f'"{name}": {json.dumps(value)}' for name, value in parts.items()]
        runs = ",\n".join(f'"{name}": {json.dumps(self.runs[name])}' for name in sorted(self.runs))
        write_text(self.path, "{" + ",\n".join([*lines, '"runs": {\n' + runs + "\n}"]) + "}\n")

    def _merge(self, on_disk: dict) -> None:
        self.runs = on_disk.get("runs", {}) | self.runs
        for name, before in self._read_from_disk.items():
            if getattr(self, name) == before:  # not measured by us
                setattr(self, name, on_disk.get(name, before))
        self._read_from_disk = {"measured": self.measured, "memory": self.memory}


def choose_learning_rate(runs: dict[str, dict], network: str, arm: str) -> float | None:
    """The learning rate with the best val Dice of an arm's tuning; None unless all its tuning
    runs are finished.
    """
    names = {lr: BenchmarkRun(network, arm, 100, 0, lr).name for lr in LEARNING_RATES}
    if any(name not in runs for name in names.values()):
        return None
    return max(LEARNING_RATES, key=lambda lr: runs[names[lr]]["val_dice"])


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f'"{path}" is damaged; remove it, and its runs will be repeated.'
        ) from error
