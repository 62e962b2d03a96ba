"""Atomic writes: a result file is either complete or does not exist at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError
from .types import PathLike

# Endings of names that mean a file, whatever it is for
FILE_SUFFIXES = (
    *(".dcm", ".ima", ".mha", ".mhd", ".nhdr", ".nrrd", ".nii", ".hdr", ".img", ".raw", ".mgz"),
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".mp4", ".gz", ".zip"),
    *(".json", ".csv", ".tsv", ".txt", ".html", ".pdf", ".npy", ".npz", ".h5", ".mat"),
    *(".stl", ".obj", ".ply", ".vtk", ".vtp", ".pt", ".pth", ".safetensors", ".onnx"),
)
TEMPORARY = ".medllmseg-"  # how the names of our temporary files and folders begin
OUTDATED_S = 3600.0  # a file that is being written changes more often than that
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NAME_TAKEN = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST)


def make_folder(folder: PathLike) -> Path:
    """Create a folder and its parents where they are missing. Raises `UserError` if it cannot."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f'"{folder}" cannot be a folder for results, because a file of that name (or in its'
            " path) is in the way; choose another place."
        ) from error
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def check_folder_name(folder: PathLike) -> None:
    """Raise `UserError` for a folder's name that is a file's, as by a slip: out.dcm, out.mha.

    What exists is left to `check_writable`: a folder is accepted, whatever its name.
    """
    folder = Path(folder)
    name = folder.name.lower()
    suffix = next((suffix for suffix in FILE_SUFFIXES if name.endswith(suffix)), None)
    if suffix is not None and not os.path.exists(folder):
        raise UserError(
            f'"{folder}" is named like a {suffix} file, a format in which these results cannot be'
            " written; name a folder, or a file as the command's help says."
        )


def temporary_path(folder: Path, suffix: str = "") -> Path:
    """A path in a folder for a file or folder that is not finished yet; nothing is made there.

    Its name is short and its own, as that of the result may already be as long as the file system
    allows. `remove_leftovers` knows it.
    """
    return folder / f"{TEMPORARY}{secrets.token_hex(6)}{suffix}"


def remove_leftovers(folder: PathLike) -> None:
    """Remove the temporary files of ours that a killed program left directly in a folder.

    What was changed within the last hour stays: another program may be writing it.
    """
    for path in Path(folder).glob(f"{TEMPORARY}*"):
        with suppress(OSError):  # another program removes them, too
            if time.time() - _last_change(path) < OUTDATED_S:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _last_change(path: Path) -> float:
    """When a file, or the newest file in a folder, was changed."""
    return max(p.lstat().st_mtime for p in (path, *path.rglob("*")))


@contextmanager
def atomic_write(path: PathLike, suffix: str | None = None) -> Iterator[Path]:
    """A temporary path in the folder of ``path``, which replaces ``path`` if the block succeeds.

    suffix: the end of the temporary name, for a writer that chooses the format by it (default: the
    last suffix of ``path``). On any failure the temporary file is removed, an older file at
    ``path`` stays as it was, and an `OSError` becomes a `UserError`.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = temporary_path(path.parent, path.suffix if suffix is None else suffix)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # some file systems notice a full disk only here
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: PathLike, text: str) -> Path:
    """Write a text file atomically, in UTF-8 and with the line ends of ``text``."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))
    return Path(path)


def write_error(path: Path, error: BaseException | None = None) -> UserError:
    """The error for a result that could not be written: full disk, no permission or another cause.

    error: what was raised, an `OSError` or the writer's own error; None if the writer raised none.
    """
    code = getattr(error, "errno", None)
    if code in _FORBIDDEN:
        return UserError(
            f'"{path}" may not be written here (no permission); choose another folder.'
        )
    if code in _NAME_TAKEN:
        return UserError(
            f'"{path}" cannot be written, because a folder or file of that name is in the way; '
            "choose another name."
        )
    if code == errno.ENAMETOOLONG:
        return UserError(
            f'"{path}" cannot be written, because the name is too long; choose a shorter one.'
        )
    free_mb = _free_mb(path.parent)
    # Some writers raise an error of their own, without a code, where the disk is full.
    if code in _DISK_FULL or (code is None and free_mb is not None and free_mb < 1):
        return UserError(
            f'"{path}" could not be written completely because the disk or quota is full; '
            "free some space or choose another folder."
        )
    detail = f" ({os.strerror(code)})" if code else ""
    space = "" if free_mb is None else f" ({free_mb:.0f} MB are free there)"
    return UserError(
        f'"{path}" could not be written completely{detail}; check the space left in its'
        f" folder{space}, or choose another folder."
    )


def _free_mb(folder: Path) -> float | None:
    try:
        return shutil.disk_usage(folder).free / 1e6
    except OSError:
        return None


def check_writable(folder: PathLike) -> None:
    """Raise `UserError` now, not after minutes of work, if results could not be written later.

    Nothing is left behind: a missing folder is not created, its nearest existing parent is tried.
    """
    existing = Path(folder).resolve()
    while not os.path.exists(existing) and existing != existing.parent:
        existing = existing.parent
    if not os.path.isdir(existing):
        raise UserError(
            f'"{folder}" cannot be a folder for results, because "{existing}" is a file; choose'
            " another place."
        )
    probe = temporary_path(existing)
    try:
        probe.write_bytes(b"?")
    except FileNotFoundError as error:  # the folder is there, but is none of files, as in /proc
        raise UserError(
            f'"{folder}" is a place in which nothing can be written; choose another folder.'
        ) from error
    except OSError as error:
        raise write_error(Path(folder), error) from error
    finally:
        probe.unlink(missing_ok=True)
