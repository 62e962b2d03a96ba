"""The user's own models: brought in from a folder or a zip file, verified, deleted (no torch).

Only the files that a bundle consists of are taken, by their names, and written to names of ours:
nothing in an archive can decide where a file goes.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import user_models_dir
from MedLLMSegLib.core.safe_files import make_folder, write_error

from .catalogue import (
    CARD,
    INFERENCE,
    LICENCE,
    METADATA,
    WEIGHTS,
    ModelEntry,
    find_model,
    list_models,
    model_entry,
    plain_id,
    read_metadata,
)
from .classifier_config import ClassifierConfig
from .network_config import NetworkConfig

NEEDED = (METADATA, WEIGHTS, LICENCE)
OTHER = (INFERENCE, CARD)
LARGEST_BYTES = 8e9  # bytes of weights; texts may have a hundredth of a per cent of it
CHUNK = 1 << 20

Opener = Callable[
    [str], "BinaryIO | None"
]  # a file of a bundle by its name; None where it is missing


def import_model(source, rename: bool = False) -> ModelEntry:
    """Copy a bundle, a folder or a .zip that holds one, into the user's models; returns its line of
    the catalogue.

    rename: where another model has the id already, take the next free one (id-2, id-3 ...) instead
    of refusing it. Raises `UserError` for anything but a whole bundle with the weights it was
    published with; nothing is left of it then.
    """
    folder = make_folder(user_models_dir())
    scratch = (
        folder.parent / f".{secrets.token_hex(6)}"
    )  # beside it, where no half a model is listed
    try:
        with _opened(Path(source).expanduser()) as open_file:
            _copy(open_file, scratch, source)
        entry = verify_model(scratch)
        name = _id_for(entry.id, source, rename)
        if name != entry.id:
            _rename(scratch, name)
        scratch.replace(folder / name)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return model_entry(folder / name)


def verify_model(model) -> ModelEntry:
    """Read a model (an entry, an id or a folder) through: all files there, a network we know, the
    weights' sha256.

    Returns its line of the catalogue; raises `UserError` that says what is wrong.
    """
    folder = _folder(model)
    metadata, entry = read_metadata(folder), model_entry(folder)
    for name in NEEDED:
        if not (folder / name).is_file():
            raise UserError(
                f'The model bundle "{folder}" is not whole ({name} is missing); install it again.'
            )
    network = {"segmenter": NetworkConfig, "classifier": ClassifierConfig}.get(entry.kind)
    if network is not None:
        try:
            network.from_dict(metadata["network"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f'The description of the model bundle "{folder}" is damaged'
                f" ({type(error).__name__}: {error}); install it again."
            ) from error
    found = _sha256(folder / WEIGHTS)
    if found != entry.sha256:
        raise UserError(
            f'The weights of the model "{entry.id}" are not the ones it was published with (sha256'
            f" {found[:12]}, expected {str(entry.sha256)[:12]}); install it again."
        )
    return entry


def is_users_model(entry: ModelEntry) -> bool:
    """Whether a model lies in the user's own folder, be it as a link, and so may be deleted."""
    return Path(entry.folder).parent.resolve() == user_models_dir().resolve()


def delete_model(model) -> None:
    """Delete one of the user's own models (an entry or an id) from the disk; `UserError` for any
    other model.
    """
    entry = model if isinstance(model, ModelEntry) else find_model(model, None)
    folder = Path(entry.folder)
    if not is_users_model(entry):
        raise UserError(
            f'"{entry.id}" is not one of your own models ({user_models_dir()}), and only those are'
            " deleted here."
        )
    try:
        if folder.is_symlink():  # the link is ours, what it leads to is not
            folder.unlink()
        else:
            shutil.rmtree(folder)
    except OSError as error:
        raise UserError(
            f'"{folder}" could not be deleted ({error.strerror}); close what uses it and try again.'
        ) from error


def free_id(name: str) -> str:
    """A model's id out of any name (see `plain_id`), and of no other model. `UserError` for an
    empty one.
    """
    plain = plain_id(name)
    if not plain:
        raise UserError(f'"{name}" is no name for a model; give it one with letters or digits.')
    return _next_free(plain)


def _next_free(name: str) -> str:
    taken = {entry.id.casefold() for entry in list_models(None)}
    if user_models_dir().is_dir():  # a folder that is damaged or is no bundle takes its name too
        taken |= {path.name.casefold() for path in user_models_dir().iterdir()}
    free = (name if n == 1 else f"{name}-{n}" for n in range(1, len(taken) + 2))
    return next(each for each in free if each.casefold() not in taken)


def _id_for(name: str, source, rename: bool) -> str:
    """The id that a bundle gets here: its own, unless it cannot be a folder's name or is taken."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        if rename:
            return free_id(name)
        raise UserError(
            f'The id "{name}" of the model in "{source}" cannot be the name of a folder; give it'
            ' one of letters, digits, ".", "_" and "-" in configs/metadata.json.'
        )
    free = _next_free(name)
    if free != name and not rename:
        raise UserError(
            f'There is a model called "{name}" already; delete it first if this one should replace'
            ' it, or change the "id" in configs/metadata.json of the new one.'
        )
    return free


def _folder(model) -> Path:
    if isinstance(model, ModelEntry):
        return Path(model.folder)
    path = Path(model)
    if path.is_dir():
        return path
    return Path(find_model(str(model), None).folder)


@contextmanager
def _opened(source: Path) -> Iterator[Opener]:
    """How to open the files of a bundle that lies in a folder or a zip file."""
    if source.is_dir():
        yield lambda name: open(source / name, "rb") if (source / name).is_file() else None
        return
    try:
        with zipfile.ZipFile(source) as archive:
            names = [
                name
                for name in archive.namelist()
                if PurePosixPath(name).parts[-2:] == tuple(METADATA.split("/"))
            ]
            if len(names) != 1:
                raise UserError(
                    f'"{source}" holds {len(names) or "no"} model bundles ({METADATA}), and one is'
                    " needed; choose a bundle's folder, or a zip file of one."
                )
            prefix = names[0][: -len(METADATA)]
            there = set(archive.namelist())
            yield lambda name: archive.open(prefix + name) if prefix + name in there else None
    except FileNotFoundError as error:
        raise UserError(f'There is no file or folder "{source}"; check the path.') from error
    except (
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
        EOFError,
    ) as error:  # also: encrypted, unknown method
        raise UserError(
            f'"{source}" is no folder and no readable zip file; choose a model bundle.'
        ) from error


def _copy(open_file: Opener, target: Path, source) -> None:
    for name in (*NEEDED, *OTHER):
        file = open_file(name)
        if file is None:
            if name in NEEDED:
                raise UserError(
                    f'"{source}" is no model bundle ({name} is missing); choose the folder or zip'
                    " file that a training or another user of MedLLMSeg made."
                )
            continue
        with file:
            _write(
                file,
                target / name,
                LARGEST_BYTES if name == WEIGHTS else LARGEST_BYTES / 1e4,
                source,
            )


def _write(file: BinaryIO, path: Path, limit: float, source) -> None:
    """Copy a stream, whatever an archive says of its length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with open(path, "wb") as out:
        while chunk := file.read(CHUNK):
            written += len(chunk)
            if written > limit:
                raise UserError(
                    f'"{path.name}" in "{source}" is larger than {limit / 1e6:.0f} MB, which no'
                    " model of ours is; check where it came from."
                )
            out.write(chunk)


def _rename(folder: Path, name: str) -> None:
    metadata = {**read_metadata(folder), "id": name}
    (folder / METADATA).write_text(
        json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
