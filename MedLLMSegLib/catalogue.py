"""What models exist: read from the bundles' metadata, without torch and without touching weights."""
from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError

METADATA = "configs/metadata.json"
BUNDLES = Path(__file__).parent / "bundles"


@dataclass(frozen=True)
class ModelEntry:
    """One line of the catalogue. accuracy: a measured figure with what it was measured on, in words."""

    id: str
    title: str
    kind: str
    modality: str
    structures: tuple[str, ...]
    licence: str
    accuracy: str
    sha256: str
    folder: Path


def read_metadata(folder) -> dict:
    """A bundle's metadata, or `UserError` when the folder is no bundle of ours."""
    path = Path(folder) / METADATA
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f'"{folder}" is not a model bundle ({METADATA} is missing); '
                        "give a model's id from `medllmseg models` or a bundle's folder.") from error
    except (OSError, ValueError) as error:
        raise UserError(f'The model bundle "{folder}" is damaged ({METADATA} cannot be read); '
                        "install it again.") from error
    if not isinstance(metadata, dict) or "weights_sha256" not in metadata:
        raise UserError(f'The model bundle "{folder}" names no sha256 for its weights; install it again.')
    return metadata


def model_entry(folder) -> ModelEntry:
    """The catalogue's line for a bundle's folder."""
    data = read_metadata(folder)
    try:
        return ModelEntry(data["id"], data["title"], data["kind"], data["modality"], tuple(data["structures"]),
                          data["licence"], data["accuracy"], data["weights_sha256"], Path(folder))
    except (KeyError, TypeError) as error:
        raise UserError(f'The description of the model bundle "{folder}" is damaged '
                        f"({type(error).__name__}: {error}); install it again.") from error


def list_models(kind: str | None = "segmenter", folder: Path = BUNDLES) -> tuple[ModelEntry, ...]:
    """All bundles below a folder, sorted by id. kind: "segmenter", "localizer", or None for every kind."""
    entries = [model_entry(path.parent.parent) for path in sorted(folder.glob(f"*/{METADATA}"))]
    return tuple(e for e in entries if kind in (None, e.kind))


def find_model(name: str | Path, kind: str = "segmenter") -> ModelEntry:
    """A model by its id or its bundle's folder. Raises `UserError` that names the models there are."""
    own = BUNDLES / str(name)
    if str(name) == own.name and (own / METADATA).is_file():
        entry = model_entry(own)
    elif os.path.isdir(name):
        entry = model_entry(name)
    else:
        known = ", ".join(e.id for e in list_models(kind)) or "none is installed"
        raise UserError(f'There is no model called "{name}"; the models are: {known}; or give the folder of a bundle.')
    if entry.kind != kind:
        raise UserError(f'"{name}" is a {entry.kind}, and a {kind} is needed here.')
    return entry
