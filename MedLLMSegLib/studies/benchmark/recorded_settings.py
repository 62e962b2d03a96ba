"""The settings that a folder of runs or a page was made with: recorded once, and held to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import write_text

from .benchmark_plan import BenchmarkSettings

SETTINGS = "settings.json"


def record_settings(settings: BenchmarkSettings, path: Path) -> None:
    """Record the settings in a new file, or refuse where results of other settings stand."""
    wanted = settings.to_dict()
    if not path.exists():
        write_text(path, json.dumps(wanted, indent=1))
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f'"{path}" is damaged; choose another --output.') from error
    refuse_other(stored, wanted, path)


def refuse_other(stored: dict, wanted: dict, path: Path) -> None:
    """Raise `UserError` naming the first setting that differs. A setting that came later had its
    default value before.
    """
    try:
        stored = BenchmarkSettings.from_dict(stored).to_dict()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f'"{path}" was written by another version, or is damaged; choose another --output and'
            " --docs."
        ) from error
    if (difference := _first_difference(stored, wanted)) is not None:
        raise UserError(
            f'"{path}" belongs to a benchmark with {difference.name} ='
            f" {_short(difference.stored)}, and {_short(difference.wanted)} is asked for; runs of"
            " both cannot be compared, so choose other folders (--output, --docs) or the settings"
            " it began with."
        )


@dataclass(frozen=True)
class SettingDifference:
    """A setting, its value in the stored results and the one that is asked for."""

    name: str
    stored: Any
    wanted: Any


def _first_difference(stored: Any, wanted: Any, name: str = "") -> SettingDifference | None:
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(k for k in stored if k not in wanted)]:
            inner = _first_difference(stored.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
            if inner:
                return inner
        return None
    return None if stored == wanted else SettingDifference(name, stored, wanted)


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
