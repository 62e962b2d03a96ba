"""A lock on an open file, which the system releases however the program ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import UserError
from .safe_files import make_folder, write_error

LONGEST_WAIT_S = 20.0
_STEP_S = 0.02


def try_lock(file: IO[Any]) -> bool | None:
    """Lock an open file until it is closed, without waiting.

    Returns whether that was possible: False if another program, or this one, holds the lock; None
    on a disk that knows no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other programs out of a block that takes the same lock; the file ``path`` stays.

    For blocks of a moment. A disk that knows no locks counts as locked. Raises `UserError` where
    the lock is not free within `LONGEST_WAIT_S`, and where the file cannot be made.
    """
    make_folder(path.parent)
    try:
        file = open(path, "ab")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise write_error(path, error) from error
    with file:
        until = time.monotonic() + LONGEST_WAIT_S
        while try_lock(file) is False:
            if time.monotonic() > until:
                raise UserError(
                    f'Another program has kept "{path}" locked for {LONGEST_WAIT_S:.0f} s; close'
                    " the other Slicer or command, and try again."
                )
            time.sleep(_STEP_S)
        yield
