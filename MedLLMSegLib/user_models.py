"""The user's own models: taken in, verified and deleted again (no torch)."""
from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from .catalogue import BUNDLES, METADATA, ModelEntry, list_models, model_entry
from .errors import UserError
from .outputs import make_folder, write_error
from .places import cache_dir, user_models_dir

WEIGHTS = "models/model.safetensors"  # as bundle.py has it, which imports torch
CHUNK = 1 << 20


def verify_model(entry: ModelEntry) -> None:
    """Raise `UserError` unless a model's weights are those that its metadata names by sha256."""
    digest = hashlib.sha256()
    try:
        with open(entry.folder / WEIGHTS, "rb") as file:
            while block := file.read(CHUNK):
                digest.update(block)
    except OSError as error:
        raise UserError(f'The model "{entry.id}" has no readable {WEIGHTS}; install it again.') from error
    if digest.hexdigest() != entry.sha256:
        raise UserError(f'The weights of "{entry.id}" are not the ones it was published with (sha256 '
                        f"{digest.hexdigest()[:12]}, expected {entry.sha256[:12]}); delete the model and import it again.")


def is_users_own(entry: ModelEntry) -> bool:
    """Whether a model lies in the user's models folder, and so may be deleted."""
    return entry.folder.resolve().parent == user_models_dir().resolve()


def delete_model(entry: ModelEntry) -> None:
    """Delete one of the user's own models from disk. Raises `UserError` for a model that comes with the program."""
    if not is_users_own(entry):
        raise UserError(f'The model "{entry.id}" is not one of your own models, and only those can be deleted here.')
    try:
        shutil.rmtree(entry.folder)
    except OSError as error:
        raise UserError(f'The model "{entry.id}" could not be deleted ({error.strerror}); close what uses it and '
                        "try again.") from error


def import_model(source) -> ModelEntry:
    """Copy a bundle into the user's models folder, verified, whole or not at all; returns its entry there.

    source: the bundle's folder, or a .zip of it. Raises `UserError` if it is none, is damaged, or its id is taken.
    """
    source = Path(source)
    make_folder(cache_dir())
    scratch = Path(tempfile.mkdtemp(prefix="import-", dir=cache_dir()))
    try:
        copy = _unzipped(source, scratch) if source.is_file() else _copied(source, scratch)
        entry = model_entry(copy)
        verify_model(entry)
        target = user_models_dir() / _free_id(entry)
        make_folder(target.parent)
        copy.rename(target)
    except OSError as error:
        raise write_error(user_models_dir(), error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return model_entry(target)


def _copied(source: Path, scratch: Path) -> Path:
    model_entry(source)  # raises for a folder that is no bundle, before anything is copied
    return Path(shutil.copytree(source, scratch / "bundle"))


def _unzipped(source: Path, scratch: Path) -> Path:
    top = scratch / "bundle"
    try:
        with zipfile.ZipFile(source) as archive:
            archive.extractall(top)  # never writes outside of the folder
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f'"{source.name}" is no readable .zip file; download it again, or choose the bundle\'s '
                        "folder.") from error
    found = [path.parent.parent for path in [*top.glob(METADATA), *top.glob(f"*/{METADATA}")]]
    if len(found) != 1:
        raise UserError(f'"{source.name}" holds {len(found)} model bundles, and one is needed.')
    return found[0]


def _free_id(entry: ModelEntry) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", entry.id):
        raise UserError(f'The model\'s id "{entry.id}" cannot be the name of a folder; ask its author for another one.')
    if (BUNDLES / entry.id).exists() or (user_models_dir() / entry.id).exists() or entry.id in {e.id for e in list_models(None)}:
        raise UserError(f'There is a model called "{entry.id}" already; delete it first if this one should replace it.')
    return entry.id
