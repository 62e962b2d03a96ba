"""The licences of models, and which of them the user has accepted (no torch)."""

from __future__ import annotations

import json
from datetime import date

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.file_lock import locked
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json, PathLike

from .catalogue import LICENCE, ModelEntry, find_model

ACCEPTED = "accepted-licences.json"  # in the cache folder
LOCK = "accepted-licences.lock"


def licence_text(entry: ModelEntry) -> str:
    """The licence of a model's weights in full."""
    try:
        return (entry.folder / LICENCE).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f'The model bundle "{entry.folder}" has no readable {LICENCE}; install it again.'
        ) from error


def licence_accepted(entry: ModelEntry) -> bool:
    """Whether a model may be used: its licence needs no acceptance, or was accepted on this
    computer.
    """
    if not entry.accept_licence:
        return True
    return _accepted_licences().get(entry.id, {}).get("licence") == entry.licence


def accept_licence(entry: ModelEntry | PathLike) -> None:
    """Record in the cache folder that the user accepts a model's licence.

    entry: a model, its id or its folder.
    """
    if not isinstance(entry, ModelEntry):
        entry = find_model(entry, None)
    acceptance = {"licence": entry.licence, "date": date.today().isoformat()}
    with locked(cache_dir() / LOCK):  # another Slicer may accept another licence at this moment
        accepted = {**_accepted_licences(), entry.id: acceptance}
        text = json.dumps(accepted, indent=1, ensure_ascii=False) + "\n"
        write_text(cache_dir() / ACCEPTED, text)


def require_licence(entry: ModelEntry) -> None:
    """Raise `UserError` that says how to accept the licence, unless it has been accepted."""
    if not licence_accepted(entry):
        raise UserError(
            f'The model "{entry.id}" is under {entry.licence}, which has to be accepted before its'
            f" first use: read it with `medllmseg models --licence {entry.id}` and accept it with"
            f" `medllmseg models --accept {entry.id}`, or in Python with"
            f' MedLLMSegLib.accept_licence("{entry.id}").'
        )


def _accepted_licences() -> dict[str, Json]:
    """Model id -> {"licence", "date"}. A missing or damaged file means that none was accepted."""
    try:
        data = json.loads((cache_dir() / ACCEPTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {name: value for name, value in data.items() if isinstance(value, dict)}
