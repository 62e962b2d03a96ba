"""The settings that a folder or a file of results was made with: recorded once, and held to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json

SETTINGS = "settings.json"
LONGEST = 60  # characters of a value in a sentence


def record_settings(
    settings: Json, path: Path, complete: Callable[[Json], Json] | None = None
) -> None:
    """Record the settings in a new file, or refuse where results of other settings stand."""
    if path.exists():
        refuse_other(read_json(path), settings, path, complete)
    else:
        write_text(path, json.dumps(settings, indent=1))


def refuse_other(
    stored: Json, wanted: Json, path: Path, complete: Callable[[Json], Json] | None = None
) -> None:
    """Raise `UserError` naming the first setting that differs.

    A setting that came later, and is off (None, False, 0 or empty), is what older results were made
    with. complete: adds what came later and is not off; what it raises means damage.
    """
    try:
        stored = complete(stored) if complete else stored
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f'"{path}" was written by another version, or is damaged; choose another --output and'
            " --docs."
        ) from error
    if (difference := _first_difference(stored, wanted)) is not None:
        raise UserError(
            f'"{path}" holds runs with {difference.name} = {_short(difference.stored)}, and'
            f" {_short(difference.wanted)} is asked for; runs of both cannot be compared, so choose"
            " other folders (--output, --docs) or the settings it began with."
        )


def read_json(path: Path) -> Json:
    """What a study wrote. Raises `UserError` for a damaged file."""
    try:
        found: Json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f'"{path}" is damaged; remove it, and its runs will be repeated.'
        ) from error
    return found


@dataclass(frozen=True)
class SettingDifference:
    """A setting, its value in the stored results and the one that is asked for."""

    name: str
    stored: Any
    wanted: Any


def _first_difference(stored: Any, wanted: Any, name: str = "") -> SettingDifference | None:
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(k for k in stored if k not in wanted)]:
            if key not in stored and not wanted[key]:
                continue
            inner = _first_difference(stored.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
            if inner:
                return inner
        return None
    return None if stored == wanted else SettingDifference(name, stored, wanted)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
