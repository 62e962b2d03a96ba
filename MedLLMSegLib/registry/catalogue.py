"""Which models exist: read from the bundles' metadata, without torch and without the weights.

A bundle comes with the program, lies in the user's own folder (`places.user_models_dir()`), or is
named by its path.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.places import user_models_dir
from MedLLMSegLib.core.types import Json, PathLike

from .measured_model import MeasuredModel

# Where no model is named: to outline, to fine-tune, to diagnose.
DEFAULT_SEGMENTER, DEFAULT_START, DEFAULT_CLASSIFIER = (
    "brain-mr",
    "hippocampus-t1",
    "cxr-pneumonia",
)
BUNDLES = Path(__file__).parents[1] / "bundles"
METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"  # files of a bundle
WEIGHTS, CARD, LICENCE = "models/model.safetensors", "docs/README.md", "LICENSE"
# Texts that every bundle's metadata must have.
TEXTS = ("id", "title", "kind", "modality", "licence", "accuracy", "weights_sha256")
_PURPOSES = {
    "segmenter": "that outlines structures",
    "classifier": "that diagnoses",
    "localizer": "that finds an organ",
}
_COMMANDS = {"classifier": "diagnose", "segmenter": "segment"}

NOT_MEASURED = "not measured"

logger = logging.getLogger("medllmseg")


@dataclass(frozen=True)
class ModelEntry:
    """One line of the catalogue.

    kind: "segmenter", "localizer" or "classifier". structures: what a segmenter outlines. classes:
    what a classifier tells apart. accuracy: a measured figure and the data behind it, as text;
    "not measured" where the figure is that of another model than the bundle is now.
    accept_licence: the licence is not permissive and must be accepted before the first use.
    size_mb: of the folder, in MB of 10^6 bytes. fine_tunes: whether a training on own cases
    can start from it.
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
    fine_tunes: bool = True


def read_metadata(folder: PathLike) -> Json:
    """A bundle's metadata. Raises `UserError` where the folder is not one of our bundles."""
    path = Path(folder) / METADATA
    try:
        metadata = parse_json(path.read_text(encoding="utf-8"))
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


def model_entry(folder: PathLike) -> ModelEntry:
    """The catalogue's line for a bundle. Raises `UserError` where its metadata are damaged."""
    folder = Path(folder)
    metadata = read_metadata(folder)
    is_classifier = metadata.get("kind") == "classifier"
    lists = ("structures", "classes") if is_classifier else ("structures",)
    damaged = [name for name in TEXTS if not isinstance(metadata.get(name), str)]
    damaged += [name for name in lists if not _is_list_of_texts(metadata.get(name))]
    if damaged:  # one entry that the panel cannot show would hide all the others
        raise UserError(
            f'The description of the model bundle "{folder}" is damaged ("{damaged[0]}" is missing'
            " or not text); install it again."
        )
    return ModelEntry(
        id=metadata["id"],
        title=metadata["title"],
        kind=metadata["kind"],
        modality=metadata["modality"],
        structures=tuple(metadata["structures"]),
        licence=metadata["licence"],
        accuracy=_shown_accuracy(metadata),
        sha256=metadata["weights_sha256"],
        folder=folder,
        accept_licence=bool(metadata.get("accept_licence", False)),
        size_mb=_size_mb(folder),
        classes=tuple(metadata["classes"]) if is_classifier else (),
        fine_tunes=not _tells_sides_apart(metadata),
    )


def measured_model(metadata: Json) -> MeasuredModel:
    """The measured model of a bundle's metadata.

    Raises `UserError` where the localizer of a cascade is not installed.
    """
    name = metadata.get("localizer")
    if not name or metadata.get("kind") == "localizer":
        return MeasuredModel.of(metadata)
    return MeasuredModel.of(metadata, MeasuredModel.of(_localizer(str(name))))


def _localizer(name: str) -> Json:
    """The metadata of the localizer with this id or folder.

    `find_model` is not asked: where the localizer is missing it would make entries of all models,
    and each of those asks for its measured model. Raises `UserError` where it is not installed.
    """
    given = Path(name)
    folders = [given] if given.is_absolute() else [BUNDLES / name, user_models_dir() / name]
    folders += [*_bundles_in(BUNDLES), *_bundles_in(user_models_dir())]
    for folder in folders:
        if not (folder / METADATA).is_file():
            continue
        metadata = read_metadata(folder)
        is_named = folder.name == given.name or metadata.get("id") == name
        if is_named and metadata.get("kind") == "localizer":
            return metadata
    raise UserError(
        f'The localizer "{name}", which this model works together with, is not installed; install'
        " it again."
    )


def _shown_accuracy(metadata: Json) -> str:
    """The measured figure in words, if it was measured with what the bundle is now.

    That of a cross-validation says itself that it is the recipe's.
    """
    accuracy, results = str(metadata["accuracy"]), metadata.get("results")
    if not results:
        return accuracy
    try:
        is_own = results.get("measured_model") == measured_model(metadata).sha256
    except (UserError, AttributeError, TypeError):  # its localizer is gone, or it is damaged
        is_own = False
    return accuracy if is_own else NOT_MEASURED


def _tells_sides_apart(metadata: Json) -> bool:
    """Whether a network's last layer gives structures and sides, which own cases do not have."""
    network = metadata.get("network")
    return isinstance(network, dict) and bool(network.get("sides"))


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def list_models(
    kind: str | None = "segmenter", folder: Path | None = None
) -> tuple[ModelEntry, ...]:
    """The bundles that come with the program, sorted by id, and then the user's own; or the
    bundles in one folder.

    kind: "segmenter", "localizer", "classifier", or None for every kind. A user's bundle that
    cannot be read, or that has the id of a bundle already listed, is left out and logged.
    """
    entries = {entry.id: entry for entry in map(model_entry, _bundles_in(folder or BUNDLES))}
    users = [] if folder else _bundles_in(user_models_dir())
    for path in users:
        try:
            entry = model_entry(path)
        except UserError as error:
            logger.warning("%s", error)
            continue
        if entry.id in entries:
            logger.warning(
                '"%s" has the id of another model, "%s", and is left out', path, entry.id
            )
            continue
        entries[entry.id] = entry
    return tuple(entry for entry in entries.values() if kind in (None, entry.kind))


def _bundles_in(folder: Path) -> list[Path]:
    # what begins with a dot is an unfinished bundle that a killed program left
    return [path.parent.parent for path in sorted(folder.glob(f"[!.]*/{METADATA}"))]


def find_model(name: PathLike, kind: str | None = "segmenter") -> ModelEntry:
    """A model by its id or its bundle's folder, of one kind or (None) of any.

    Raises `UserError` that lists the models that exist.
    """
    if os.path.isabs(name) and os.path.isdir(name):  # no id, so no catalogue needs to be read
        entry: ModelEntry | None = model_entry(name)
    else:
        entry = listed_model(name)
        if entry is None and os.path.isdir(name):
            entry = model_entry(name)
    if entry is None:
        which = "the models that diagnose" if kind == "classifier" else "the models"
        raise UserError(
            f'There is no model called "{name}"; {which} are: {_known_ids(kind)}; or give the'
            " folder of a bundle."
        )
    if kind is not None and kind != entry.kind:
        raise _wrong_kind(entry, kind)
    return entry


def listed_model(name: PathLike) -> ModelEntry | None:
    """The model of this id that comes with the program or is the user's own; None without one."""
    return _entry_by_folder_name(str(name)) or _entry_by_id(str(name))


def _entry_by_folder_name(name: str) -> ModelEntry | None:
    """The bundle in the folder of this name, with the program or among the user's models."""
    if name != Path(name).name:
        return None
    for folder in (BUNDLES, user_models_dir()):
        if (folder / name / METADATA).is_file():
            return model_entry(folder / name)
    return None


def _entry_by_id(name: str) -> ModelEntry | None:
    return next((entry for entry in list_models(None) if entry.id == name), None)


def _known_ids(kind: str | None) -> str:
    return ", ".join(entry.id for entry in list_models(kind)) or "none is installed"


def _wrong_kind(entry: ModelEntry, needed: str) -> UserError:
    command = _COMMANDS.get(entry.kind)
    use = f" (use it with `medllmseg {command}`)" if command else ""
    return UserError(
        f'"{entry.id}" is a model {_PURPOSES.get(entry.kind, f"of kind {entry.kind}")}{use}, and'
        f" one {_PURPOSES[needed]} is needed here; those are: {_known_ids(needed)}."
    )


def plain_id(name: str) -> str:
    """A model's id from a user's name for it: lower-case letters, digits and hyphens; "" for a
    name without a letter or digit.

    A name with letters or digits outside ASCII also gets a digest, because what is left of two such
    names may be the same: "liver-1f0c9a", or "model-1f0c9a" where nothing readable is left. The
    model's title keeps the name itself.
    """
    name = unicodedata.normalize("NFC", name).strip()  # one form, however it was typed
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    without_accents = "".join(c for c in decomposed if not unicodedata.combining(c))
    plain = re.sub(r"[^a-z0-9]+", "-", without_accents).strip("-")[:60].strip("-")
    if not any(c.isalnum() and not c.isascii() for c in name):
        return plain
    digest = hashlib.sha256(name.casefold().encode("utf-8")).hexdigest()[:6]
    return f"{plain or 'model'}-{digest}"
