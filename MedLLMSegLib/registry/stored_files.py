"""What the program keeps on this computer besides itself: the user's models and its cache, with
sizes, and how to delete it.

The accepted licences stay: they take no space, and without them each model would ask again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.file_lock import try_lock
from MedLLMSegLib.core.places import cache_dir, user_models_dir

from .catalogue import list_models
from .user_models import delete_model, is_users_model

TRAININGS = "trainings"
# Key, as it is typed -> (patterns of its files in the cache folder, what they are).
CACHED = {
    "llm": (
        ("llm/*",),
        "fetched layers of language models; `medllmseg llm fetch` brings them back",
    ),
    "encoders": (("encoders/*",), "fetched vision encoders; the next training fetches them again"),
    "precision": (("precision/*",), "measurements of precision; the next scan is measured again"),
    "exports": (("exports/*",), "networks for other engines; made again when one is used"),
    TRAININGS: (
        (f"{TRAININGS}/*",),
        "unfinished trainings, with copies of their scans; without them they begin anew",
    ),
    "logs": (("*.log",), "logs"),
}


@dataclass(frozen=True)
class StoredFiles:
    """One thing that is kept.

    key: a model's id, or one of `CACHED`. what: in a few words. size_mb: in MB of 10^6 bytes.
    is_model: it is one of the user's own models.
    """

    key: str
    what: str
    size_mb: float
    is_model: bool = False


def stored_files() -> tuple[StoredFiles, ...]:
    """All that is kept: the user's own models first, then the cache, what is empty left out."""
    models = [
        StoredFiles(entry.id, entry.title, entry.size_mb, True)
        for entry in list_models(None)
        if is_users_model(entry)
    ]
    cached = []
    for key, (_patterns, what) in CACHED.items():
        places = [place for place in _places(key) if place.suffix != ".lock"]
        if places:
            cached.append(StoredFiles(key, what, sum(map(_bytes, places)) / 1e6))
    return (*models, *cached)


def delete_stored(key: str) -> None:
    """Delete one of the user's models, or a part of the cache.

    A training that is running stays. Raises `UserError` for an unknown key, and where something
    could not be deleted.
    """
    if key not in CACHED:
        known = {stored.key for stored in stored_files()}
        if key not in known:
            raise UserError(
                f'Nothing called "{key}" is kept in "{cache_dir()}" or "{user_models_dir()}"; there'
                f" is: {', '.join(sorted(known)) or 'nothing'}."
            )
        delete_model(key)
        return
    left = [place.name for place in _places(key) if not _delete(place, key)]
    if left:
        raise UserError(
            f"In use, and not deleted: {', '.join(left)}; close what uses it and try again."
        )


def _places(key: str) -> Iterator[Path]:
    for pattern in CACHED[key][0]:
        yield from sorted(cache_dir().glob(pattern))


def _bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else [place]
    total = 0
    for path in files:
        with suppress(OSError):  # it was removed meanwhile
            total += path.lstat().st_size if path.is_file() else 0
    return total


def _delete(place: Path, key: str) -> bool:
    """Whether a file or folder is gone."""
    try:
        if key == TRAININGS and place.is_dir():
            return _delete_training(place)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif place.suffix != ".lock":  # another Slicer may hold it
            place.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _delete_training(folder: Path) -> bool:
    """Delete a training's folder unless a training in it is running (see
    `slicer_bridge.logic.unfinished_trainings`, which takes the same lock).
    """
    with folder.with_name(f"{folder.name}.lock").open("wb") as file:
        if try_lock(file) is False:
            return False
        shutil.rmtree(folder)
    return True
