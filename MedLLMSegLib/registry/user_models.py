"""The user's own models: imported from a folder or a zip file, verified, deleted (no torch).

Only the files that a bundle consists of are copied, to names that we choose: nothing in an archive
can decide where a file goes.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TypeAlias

from MedLLMSegLib.core.errors import UserError, error_in_short, in_short
from MedLLMSegLib.core.file_lock import locked
from MedLLMSegLib.core.places import user_models_dir
from MedLLMSegLib.core.safe_files import (
    make_folder,
    remove_leftovers,
    temporary_path,
    write_error,
)
from MedLLMSegLib.core.types import Json, PathLike

from .catalogue import (
    CARD,
    INFERENCE,
    LICENCE,
    METADATA,
    WEIGHTS,
    ModelEntry,
    find_model,
    list_models,
    measured_model,
    model_entry,
    plain_id,
    read_metadata,
)
from .classifier_config import ClassifierConfig
from .domain_file import DOMAIN_FILE, FIELD, read_domain_file
from .network_config import NetworkConfig

LOCK = "models.lock"  # in the cache folder: held while a model takes its id
NEEDED = (METADATA, WEIGHTS, LICENCE)
OPTIONAL = (INFERENCE, CARD, DOMAIN_FILE)
LARGEST_BYTES = 8e9  # of the weights
LARGEST_TEXT_SHARE = 1e-4  # of LARGEST_BYTES, for each of the texts
LARGEST_DOMAIN_SHARE = 1e-2  # for the reference of the domain
CHUNK_BYTES = 1 << 20
# What Python raises for encrypted files, unknown methods, archives cut short or damaged
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error, lzma.LZMAError,
    ValueError, IndexError, KeyError, struct.error, OverflowError,
)  # fmt: skip

# Opens a file of a bundle by its name; None where the file is missing.
Opener: TypeAlias = Callable[[str], "IO[bytes] | None"]


def import_model(source: PathLike, rename: bool = False) -> ModelEntry:
    """Copy a bundle into the user's models and return its line of the catalogue.

    source: a folder, or a .zip with one bundle in it. rename: where another model has the id, take
    the next free one (id-2, id-3 ...) instead of refusing the bundle. A title that another model
    has gets the id behind it, so that lists tell the two apart. Raises `UserError` unless
    the bundle is complete and has the weights it was published with; nothing of it stays then.
    """
    folder = make_folder(user_models_dir())
    # Next to the folder, not in it: an incomplete model is never listed.
    scratch = temporary_path(folder.parent)
    try:
        with _opened(Path(source).expanduser()) as open_file:
            _copy_bundle(open_file, scratch, source)
        entry = verify_model(scratch)
        with locked(folder.parent / LOCK):  # another Slicer may import at this moment
            model_id = _id_for(entry.id, source, rename)
            title = _title_for(entry.title, model_id)
            if (model_id, title) != (entry.id, entry.title):
                _write_names(scratch, model_id, title)
            scratch.replace(folder / model_id)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        remove_leftovers(folder.parent)  # of imports that were killed
    return model_entry(folder / model_id)


def verify_model(model: ModelEntry | PathLike) -> ModelEntry:
    """Check a model (an entry, an id or a folder): its files, its network's configuration, and the
    sha256 of its weights and of the reference of its domain.

    Returns its line of the catalogue; raises `UserError` that says what is wrong.
    """
    folder = _folder_of(model)
    metadata = read_metadata(folder)
    entry = model_entry(folder)
    for name in NEEDED:
        if not (folder / name).is_file():
            raise UserError(
                f'The model bundle "{folder}" is incomplete ({name} is missing); install it again.'
            )
    try:
        _check_network(entry.kind, metadata)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(
            f'The description of the model bundle "{folder}" is damaged ({error_in_short(error)});'
            " install it again."
        ) from error
    sha256 = _sha256(folder / WEIGHTS)
    if sha256 != entry.sha256:
        raise UserError(
            f'The weights of the model "{entry.id}" are not the ones it was published with (sha256'
            f" {sha256[:12]}, expected {str(entry.sha256)[:12]}); install it again."
        )
    if FIELD in metadata:
        read_domain_file(folder, metadata, measured_model(metadata))
    return entry


def _check_network(kind: str, metadata: Json) -> None:
    """Read the network's configuration, which checks itself. A localizer's has no such check."""
    if kind == "segmenter":
        NetworkConfig.from_dict(metadata["network"])
    elif kind == "classifier":
        ClassifierConfig.from_dict(metadata["network"])


def is_users_model(entry: ModelEntry) -> bool:
    """Whether a model, or a link to one, is in the user's own folder, and so may be deleted."""
    return Path(entry.folder).parent.resolve() == user_models_dir().resolve()


def delete_model(model: ModelEntry | PathLike) -> None:
    """Delete one of the user's own models (an entry or an id) from the disk. Raises `UserError` for
    any other model.
    """
    entry = model if isinstance(model, ModelEntry) else find_model(model, None)
    folder = Path(entry.folder)
    if not is_users_model(entry):
        raise UserError(
            f'"{entry.id}" is not one of your own models ({user_models_dir()}), and only those are'
            " deleted here."
        )
    try:
        if folder.is_symlink():  # only the link is ours
            folder.unlink()
        else:
            shutil.rmtree(folder)
    except OSError as error:
        raise UserError(
            f'"{folder}" could not be deleted ({error.strerror}); close what uses it and try again.'
        ) from error


def free_id(name: str) -> str:
    """An id that no other model has, made from any name (see `plain_id`). Raises `UserError` for a
    name without letters and digits.
    """
    plain = plain_id(name)
    if not plain:
        raise UserError(f'"{name}" is not a name for a model; give it one with letters or digits.')
    return _next_free(plain)


def _next_free(name: str) -> str:
    """The name itself, or the first of name-2, name-3 ... that no other model has."""
    taken = {entry.id.casefold() for entry in list_models(None)}
    if user_models_dir().is_dir():  # a damaged bundle, or any other folder, takes its name too
        taken |= {path.name.casefold() for path in user_models_dir().iterdir()}
    candidates = (name if n == 1 else f"{name}-{n}" for n in range(1, len(taken) + 2))
    return next(candidate for candidate in candidates if candidate.casefold() not in taken)


def _id_for(model_id: str, source: PathLike, rename: bool) -> str:
    """The id of an imported bundle: its own, unless that cannot be a folder's name or is taken."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", model_id):
        if rename:
            return free_id(model_id)
        raise UserError(
            f'The id "{in_short(model_id)}" of the model in "{source}" cannot be the name of a'
            ' folder; give it one of letters, digits, ".", "_" and "-" in configs/metadata.json.'
        )
    free = _next_free(model_id)
    if free != model_id and not rename:
        raise UserError(
            f'There is a model called "{model_id}" already; delete it first if this one should'
            ' replace it, or change the "id" in configs/metadata.json of the new one.'
        )
    return free


def _folder_of(model: ModelEntry | PathLike) -> Path:
    if isinstance(model, ModelEntry):
        return Path(model.folder)
    path = Path(model)
    return path if path.is_dir() else Path(find_model(str(model), None).folder)


@contextmanager
def _opened(source: Path) -> Iterator[Opener]:
    """An opener for the files of a bundle in a folder or a zip file."""
    if source.is_dir():
        yield lambda name: _open_in_folder(source, name)
        return
    try:
        with zipfile.ZipFile(source) as archive:
            prefix = _bundle_prefix(archive, source)
            yield lambda name: _open_in_archive(archive, prefix + name)
    except FileNotFoundError as error:
        raise UserError(f'There is no file or folder "{source}"; check the path.') from error
    except DAMAGED_ARCHIVE as error:
        raise UserError(
            f'"{source}" is neither a folder nor a readable zip file; choose a model bundle.'
        ) from error


def _open_in_folder(folder: Path, name: str) -> IO[bytes] | None:
    path = folder / name
    return path.open("rb") if path.is_file() else None


def _open_in_archive(archive: zipfile.ZipFile, name: str) -> IO[bytes] | None:
    return archive.open(name) if name in archive.namelist() else None


def _bundle_prefix(archive: zipfile.ZipFile, source: Path) -> str:
    """The folder in the archive, as text with its slash, that holds the one bundle."""
    suffix = PurePosixPath(METADATA).parts
    found = [name for name in archive.namelist() if PurePosixPath(name).parts[-2:] == suffix]
    if len(found) != 1:
        raise UserError(
            f'"{source}" holds {len(found) or "no"} model bundles ({METADATA}), and one is needed;'
            " choose a bundle's folder, or a zip file of one."
        )
    return found[0][: -len(METADATA)]


def _copy_bundle(open_file: Opener, target: Path, source: PathLike) -> None:
    for name in (*NEEDED, *OPTIONAL):
        file = open_file(name)
        if file is None and name in NEEDED:
            raise UserError(
                f'"{source}" is not a model bundle ({name} is missing); choose the folder or zip'
                " file that a training or another user of MedLLMSeg made."
            )
        if file is None:
            continue
        with file:
            _copy_stream(file, target / name, _largest_bytes(name), source)


def _largest_bytes(name: str) -> float:
    """How large a file of a bundle may be."""
    if name == WEIGHTS:
        return LARGEST_BYTES
    share = LARGEST_DOMAIN_SHARE if name == DOMAIN_FILE else LARGEST_TEXT_SHARE
    return LARGEST_BYTES * share


def _copy_stream(file: IO[bytes], path: Path, limit: float, source: PathLike) -> None:
    """Copy at most `limit` bytes; what an archive says of the length is not believed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with open(path, "wb") as out:
        while chunk := file.read(CHUNK_BYTES):
            written += len(chunk)
            if written > limit:
                raise UserError(
                    f'"{path.name}" in "{source}" is larger than {limit / 1e6:.0f} MB, more'
                    " than any of our models; check where it came from."
                )
            out.write(chunk)


def _title_for(title: str, model_id: str) -> str:
    """The title of an imported bundle: its own, with its id if another model is called the same."""
    taken = {entry.title.casefold() for entry in list_models(None)}
    return f"{title} ({model_id})" if title.casefold() in taken else title


def _write_names(folder: Path, model_id: str, title: str) -> None:
    metadata = {**read_metadata(folder), "id": model_id, "title": title}
    text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    (folder / METADATA).write_text(text, encoding="utf-8")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
