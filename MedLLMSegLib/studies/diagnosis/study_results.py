"""What the studies found: one file, committed with the repository, from which docs/diagnosis.md is
made.

It holds answers and figures of the test cases in their order, never their images, patients or
labels: who makes the page reads those from the data again.
"""

from __future__ import annotations

import json
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import write_text

COLLECTED = "diagnosis-results.json"


class StudyResults:
    """studies: name -> {"settings", "runs": {name: result}, and whatever else was measured under
    a name of its own}.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.studies: dict[str, dict] = _read(self.path) if self.path.exists() else {}

    def begin(self, study: str, settings: dict) -> None:
        """Results of other settings are refused, as they cannot be compared."""
        found = self.studies.get(study, {}).get("settings")
        if found is not None and not _same_settings(found, settings):
            odd = next(
                key
                for key in [*settings, *found]
                if not _same_settings(found.get(key), settings.get(key))
            )
            raise UserError(
                f'"{self.path}" holds "{study}" with {odd} = {_short(found.get(odd))}, and'
                f" {_short(settings.get(odd))} is asked for; runs of both cannot be compared, so"
                " choose other folders (--output, --docs) or the settings it began with."
            )
        self.studies.setdefault(study, {"settings": settings, "runs": {}})

    def runs(self, study: str) -> dict[str, dict]:
        return self.studies.get(study, {}).get("runs", {})

    def add(self, study: str, runs: dict[str, dict]) -> None:
        """Keep finished runs. What other processes have kept meanwhile stays."""
        if runs:
            self._reread()
            self.studies[study]["runs"] |= runs
            self._save()

    def put(self, study: str, name: str, value) -> None:
        """Keep something else that was measured for a study."""
        self._reread()
        self.studies.setdefault(study, {"runs": {}})[name] = value
        self._save()

    def get(self, study: str, name: str):
        return self.studies.get(study, {}).get(name)

    def _reread(self) -> None:
        if self.path.exists():
            for study, found in _read(self.path).items():
                mine = self.studies.setdefault(study, {"runs": {}})
                runs = {**found.get("runs", {}), **mine["runs"]}
                self.studies[study] = {
                    **mine,
                    **{k: v for k, v in found.items() if k not in mine},
                    "runs": runs,
                }

    def _save(self) -> None:
        """One line a run, so that a commit shows which runs are new."""
        parts = []
        for study in sorted(self.studies):
            found = self.studies[study]
            lines = [
                f'"{name}": {json.dumps(value)}'
                for name, value in sorted(found.items())
                if name != "runs"
            ]
            runs = ",\n".join(
                f'"{name}": {json.dumps(found["runs"][name])}' for name in sorted(found["runs"])
            )
            parts.append(
                f'"{study}": {{' + ",\n".join([*lines, '"runs": {\n' + runs + "\n}"]) + "}"
            )
        write_text(self.path, "{\n" + ",\n".join(parts) + "\n}\n")


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _same_settings(stored, wanted) -> bool:
    """The same settings; one that came later, and is off (None, False, 0 or empty), is what
    older results were made with.
    """
    if isinstance(stored, dict) and isinstance(wanted, dict):
        return all(
            _same_settings(stored[key], wanted.get(key)) if key in stored else not wanted[key]
            for key in {*stored, *wanted}
        )
    return stored == wanted


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f'"{path}" is damaged; remove it, and its runs will be repeated.'
        ) from error
