"""Writing results so that a file is either whole or not there at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def make_folder(folder) -> Path:
    """The folder, made with its parents where it is missing; `UserError` where that is
    impossible.
    """
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


@contextmanager
def atomic_write(path, suffix: str | None = None) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    suffix: how the temporary name must end for a writer that chooses the format by it (default: the
    last suffix). On any failure the temporary file is removed, what stood at ``path`` before stays
    as it was, and an `OSError` becomes a `UserError`.
    """
    path = Path(path)
    make_folder(path.parent)
    # A short name of its own: the wanted one may already be as long as the file system allows.
    temporary = path.parent / f".{secrets.token_hex(6)}{path.suffix if suffix is None else suffix}"
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # some file systems notice a full disk only here
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path, text: str) -> Path:
    """Write a text file (UTF-8, line ends as given) whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))
    return Path(path)


def write_error(path: Path, error: BaseException | None = None) -> UserError:
    """The sentence for a result that could not be written: full disk, no permission, or
    something else.
    """
    code = getattr(error, "errno", None)
    if code in _FORBIDDEN:
        return UserError(
            f'"{path}" may not be written here (no permission); choose another folder.'
        )
    if code in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
        return UserError(
            f'"{path}" cannot be written, because a folder or file of that name is in the way; '
            "choose another name."
        )
    if code == errno.ENAMETOOLONG:
        return UserError(
            f'"{path}" cannot be written, because the name is too long; choose a shorter one.'
        )
    free = _free_mb(path.parent)
    if code in _FULL or (free is not None and free < 1):
        return UserError(
            f'"{path}" could not be written completely because the disk or quota is full; '
            "free some space or choose another folder."
        )
    detail = f" ({os.strerror(code)})" if code else ""
    left = "" if free is None else f" ({free:.0f} MB are free there)"
    return UserError(
        f'"{path}" could not be written completely{detail}; check the space left in its'
        f" folder{left}, or choose another folder."
    )


def _free_mb(folder: Path) -> float | None:
    try:
        return shutil.disk_usage(folder).free / 1e6
    except OSError:
        return None


def check_writable(folder) -> None:
    """Raise `UserError` at once, not after minutes of work, where results could not be written
    later.

    Nothing is left behind: a missing folder is not made yet, its nearest existing parent is tried.
    """
    place = Path(folder).resolve()
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    if not os.path.isdir(place):
        raise UserError(
            f'"{folder}" cannot be a folder for results, because "{place}" is a file; choose'
            " another place."
        )
    probe = place / f".{secrets.token_hex(6)}"
    try:
        probe.write_bytes(b"?")
    except OSError as error:
        raise write_error(Path(folder), error) from error
    finally:
        probe.unlink(missing_ok=True)
