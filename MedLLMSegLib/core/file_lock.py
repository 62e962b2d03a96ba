"""A lock on an open file, which the system releases however the program ends."""

from __future__ import annotations

import sys
from typing import IO, Any


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
