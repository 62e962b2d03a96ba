"""What models exist: read from the bundles' metadata, without torch and without touching weights.

Bundles lie with the program, in the user's own folder (`places.user_models_dir()`), or anywhere
else by their path.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir, user_models_dir
from MedLLMSegLib.core.safe_files import write_text

DEFAULT_SEGMENTER, DEFAULT_CLASSIFIER = "hippocampus-t1", "cxr-pneumonia"  # where no model is named
BUNDLES = Path(__file__).parents[1] / "bundles"
METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"  # files of a bundle
WEIGHTS, CARD, LICENCE = "models/model.safetensors", "docs/README.md", "LICENSE"
TEXTS = (
    "id",
    "title",
    "kind",
    "modality",
    "licence",
    "accuracy",
    "weights_sha256",
)  # that every description has
ACCEPTED = "accepted-licences.json"  # in the cache folder
_DO = {
    "segmenter": "that outlines structures",
    "classifier": "that diagnoses",
    "localizer": "that finds an organ",
}

logger = logging.getLogger("medllmseg")


@dataclass(frozen=True)
class ModelEntry:
    """One line of the catalogue.

    kind: "segmenter", "localizer" or "classifier". structures: what a segmenter outlines; classes:
    what a classifier tells apart. accuracy: a measured figure with what it was measured on, in
    words. accept_licence: the licence is not permissive and must be accepted before the first use.
    size_mb: of the bundle's folder.
    """

    id: str
    title: str
    kind: str
    modality: str
    structures: tuple[str, ...]
    licence: str
    accuracy: str
    sha256: str
    folder: Path
    accept_licence: bool = False
    size_mb: float = 0.0
    classes: tuple[str, ...] = ()


def read_metadata(folder) -> dict:
    """A bundle's metadata, or `UserError` when the folder is no bundle of ours."""
    path = Path(folder) / METADATA
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f'"{folder}" is not a model bundle ({METADATA} is missing); '
            "give a model's id from `medllmseg models` or a bundle's folder."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f'The model bundle "{folder}" is damaged ({METADATA} cannot be read); install it again.'
        ) from error
    if not isinstance(metadata, dict) or "weights_sha256" not in metadata:
        raise UserError(
            f'The model bundle "{folder}" names no sha256 for its weights; install it again.'
        )
    return metadata


def model_entry(folder) -> ModelEntry:
    """The catalogue's line for a bundle's folder. Raises `UserError` where its description is
    not what it has to be.
    """
    data, folder = read_metadata(folder), Path(folder)
    lists = ("structures", "classes") if data.get("kind") == "classifier" else ("structures",)
    wrong = [name for name in TEXTS if not isinstance(data.get(name), str)]
    wrong += [name for name in lists if not _is_texts(data.get(name))]
    if wrong:  # here, as one that the panel cannot show would keep all others from being shown
        raise UserError(
            f'The description of the model bundle "{folder}" is damaged ("{wrong[0]}" is missing or'
            " no text); install it again."
        )
    return ModelEntry(
        data["id"],
        data["title"],
        data["kind"],
        data["modality"],
        tuple(data["structures"]),
        data["licence"],
        data["accuracy"],
        data["weights_sha256"],
        folder,
        bool(data.get("accept_licence", False)),
        _size_mb(folder),
        tuple(data["classes"]) if data["kind"] == "classifier" else (),
    )


def _is_texts(value) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _size_mb(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def list_models(
    kind: str | None = "segmenter", folder: Path | None = None
) -> tuple[ModelEntry, ...]:
    """The bundles that come with the program, sorted by id, then the user's own; or those below one
    folder.

    kind: "segmenter", "localizer", "classifier", or None for every kind. A bundle of the user's
    that cannot be read is left out and logged, and so is one with the id of a bundle that is listed
    already.
    """
    entries = {e.id: e for e in map(model_entry, _bundles_below(folder or BUNDLES))}
    for path in [] if folder else _bundles_below(user_models_dir()):
        try:
            entry = model_entry(path)
        except UserError as error:
            logger.warning("%s", error)
            continue
        if entries.setdefault(entry.id, entry) is not entry:
            logger.warning(
                '"%s" has the id of another model, "%s", and is left out', path, entry.id
            )
    return tuple(e for e in entries.values() if kind in (None, e.kind))


def _bundles_below(folder: Path) -> list[Path]:
    return [path.parent.parent for path in sorted(folder.glob(f"*/{METADATA}"))]


def find_model(name: str | Path, kind: str | None = "segmenter") -> ModelEntry:
    """A model by its id or its bundle's folder, of one kind or (None) any. Raises `UserError`
    that names the models there are.
    """
    own = [
        folder / str(name)
        for folder in (BUNDLES, user_models_dir())
        if str(name) == Path(name).name
    ]
    places = [path for path in own if (path / METADATA).is_file()]
    by_id = [] if places else [e for e in list_models(None) if e.id == str(name)]
    if places or (not by_id and os.path.isdir(name)):
        entry = model_entry([*places, name][0])
    elif by_id:
        entry = by_id[0]
    else:
        known = ", ".join(e.id for e in list_models(kind)) or "none is installed"
        which = "the models that diagnose" if kind == "classifier" else "the models"
        raise UserError(
            f'There is no model called "{name}"; {which} are: {known}; or give the folder of a'
            " bundle."
        )
    if kind not in (None, entry.kind):
        raise _other_kind(entry, kind)
    return entry


def _other_kind(entry: ModelEntry, kind: str) -> UserError:
    known = ", ".join(e.id for e in list_models(kind)) or "none is installed"
    command = {"classifier": "diagnose", "segmenter": "segment"}.get(entry.kind)
    use = f" (use it with `medllmseg {command}`)" if command else ""
    return UserError(
        f'"{entry.id}" is a model {_DO.get(entry.kind, f"of kind {entry.kind}")}{use}, and one'
        f" {_DO[kind]} is needed here; those are: {known}."
    )


def plain_id(name: str) -> str:
    """The id that a user's name for a model becomes: small letters, digits and hyphens; "" for a
    name without any letter.

    A name with letters or digits beyond ASCII's gets its digest, too, as what is left of another
    name may be the same: "liver-1f0c9a" and so on, "model-1f0c9a" where nothing readable is left.
    The title keeps the name itself.
    """
    name = unicodedata.normalize("NFC", name).strip()  # however it was typed
    letters = "".join(
        c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c)
    )  # é is e
    plain = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:60].strip("-")
    if not any(c.isalnum() and not c.isascii() for c in name):
        return plain
    return f"{plain or 'model'}-{hashlib.sha256(name.casefold().encode('utf-8')).hexdigest()[:6]}"


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
    return not entry.accept_licence or _accepted().get(entry.id, {}).get("licence") == entry.licence


def accept_licence(entry: ModelEntry | str | Path) -> None:
    """Remember in the cache folder that the user accepts a model's licence. entry: a model, its
    id or its folder.
    """
    entry = entry if isinstance(entry, ModelEntry) else find_model(entry, None)
    accepted = {
        **_accepted(),
        entry.id: {"licence": entry.licence, "date": date.today().isoformat()},
    }
    write_text(cache_dir() / ACCEPTED, json.dumps(accepted, indent=1, ensure_ascii=False) + "\n")


def require_licence(entry: ModelEntry) -> None:
    """Raise `UserError` that says how to accept a licence, where that is still to be done."""
    if not licence_accepted(entry):
        raise UserError(
            f'The model "{entry.id}" is under {entry.licence}, which has to be accepted before its'
            f" first use: read it with `medllmseg models --licence {entry.id}` and accept it with"
            f" `medllmseg models --accept {entry.id}`, or in Python with"
            f' MedLLMSegLib.accept_licence("{entry.id}").'
        )


def _accepted() -> dict[str, dict]:
    try:
        data = json.loads((cache_dir() / ACCEPTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet, or damaged: then nothing counts as accepted
        return {}
    return {k: v for k, v in data.items() if isinstance(v, dict)} if isinstance(data, dict) else {}
