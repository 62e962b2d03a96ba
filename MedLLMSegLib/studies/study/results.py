"""What is finished: one small file that outlives the folders of the runs, and is committed with the
repository. A study's page is made from it alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from MedLLMSegLib.core.file_lock import locked
from MedLLMSegLib.core.safe_files import make_folder, write_text
from MedLLMSegLib.core.types import Json

from .settings import read_json, refuse_other

RUNS, SETTINGS_KEY = "runs", "settings"


class StudyResults:
    """The results of a study: "settings", "runs" (name -> result), and whatever else was measured,
    under a name of its own.

    section: the study's name in a file of several; "" where it has the file for itself. Several
    processes may share a file: each adds to what the others have written.
    """

    def __init__(self, path: str | Path, section: str = ""):
        self.path, self.section = Path(path), section
        self._begun: Json = {}
        self._study: Json = {}
        self.look()

    def of(self, section: str) -> StudyResults:
        """Those of another study in the same file."""
        return StudyResults(self.path, section)

    @property
    def runs(self) -> dict[str, Json]:
        """Name -> result of what is finished."""
        runs: dict[str, Json] = self._study.setdefault(RUNS, {})
        return runs

    def get(self, name: str, default: Any = None) -> Any:
        """What else was kept under a name."""
        return self._study.get(name, self._begun.get(name, default))

    def begin(
        self, settings: Json, complete: Callable[[Json], Json] | None = None, **facts: Any
    ) -> None:
        """Settle what is kept beside the runs. Results of other settings are refused
        (`refuse_other`), as they cannot be compared.
        """
        if set(self._study) - {RUNS} or self.runs:
            refuse_other(self._study.get(SETTINGS_KEY, {}), settings, self.path, complete)
        self._begun = {SETTINGS_KEY: settings, **facts}

    def add(self, runs: dict[str, Json]) -> None:
        """Keep finished runs."""
        if runs:
            with self._changed() as study:
                study[RUNS] |= runs

    def put(self, name: str, value: Any) -> None:
        """Keep something else."""
        with self._changed() as study:
            study[name] = value

    @contextmanager
    def _changed(self) -> Iterator[Json]:
        """The study as it is on disk now, written back with what is changed."""
        make_folder(self.path.parent)
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            whole = self._whole()
            study = whole.setdefault(self.section, {}) if self.section else whole
            study[RUNS] = study.get(RUNS, {})
            study |= {key: value for key, value in self._begun.items() if key not in study}
            yield study
            write_text(self.path, _text(whole, bool(self.section)))
        self._study = study

    def look(self) -> None:
        """Read what other processes have kept since."""
        whole = self._whole()
        self._study = whole.get(self.section, {}) if self.section else whole

    def _whole(self) -> Json:
        return read_json(self.path) if self.path.exists() else {}


def _text(whole: Json, several: bool) -> str:
    """One line a run, so that a commit shows which runs are new."""
    if not several:
        return _study_text(whole) + "\n"
    parts = [f'"{name}": {_study_text(whole[name])}' for name in sorted(whole)]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _study_text(study: Json) -> str:
    lines = [f'"{name}": {json.dumps(study[name])}' for name in sorted(study) if name != RUNS]
    runs = study.get(RUNS, {})
    of_runs = ",\n".join(f'"{name}": {json.dumps(runs[name])}' for name in sorted(runs))
    return "{" + ",\n".join([*lines, f'"{RUNS}": {{\n{of_runs}\n}}']) + "}"
