"""Two folders change places in one step, so that no program ever finds neither there."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def exchange_folders(one: Path, other: Path) -> bool:
    """Let two folders of one file system change places; returns whether that was possible.

    Linux alone can (renameat2, kernel 3.15 and glibc 2.28), and not on every file system. Where it
    cannot, nothing has changed.
    """
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):  # an older libc, or another one
        return False
    paths = (os.fsencode(os.path.abspath(one)), os.fsencode(os.path.abspath(other)))
    return bool(rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)
