"""The folder of one session's temporary files, with a folder in it for each run.

They hold copies of patients' scans. So each run's folder goes when its result has been taken in,
the session's folder goes with the session, and what a crash left behind goes when the next session
makes its own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.file_lock import try_lock
from MedLLMSegLib.core.safe_files import write_error
from MedLLMSegLib.core.types import PathLike

PREFIX = "MedLLMSeg-"
LOCK = "session.lock"  # locked as long as the session lives
ATTEMPTS = 5


class SessionFolder:
    """A folder that no other session uses, readable by its owner alone; made for the first run.

    parent: where it is made; None for the system's folder for temporary files.
    """

    def __init__(self, parent: PathLike | None = None) -> None:
        self._parent = parent
        self._made: tuple[Path, BinaryIO] | None = None  # the folder and its locked file

    def new_run(self) -> Path:
        """A new folder for one run. Raises `UserError` if nothing can be written there."""
        parent = Path(tempfile.gettempdir() if self._parent is None else self._parent)
        try:
            if self._made is None or not self._made[0].exists():  # a system may clean up, too
                self._made = _make(parent)
                remove_leftovers(parent)
            return Path(tempfile.mkdtemp(prefix="run-", dir=self._made[0]))
        except OSError as error:
            raise write_error(parent / PREFIX, error) from error

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        if self._made is not None:
            _remove(*self._made)
            self._made = None


def remove_leftovers(parent: Path) -> None:
    """Remove the folders of sessions that ended without removing theirs."""
    for lock_path in parent.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), open(lock_path, "r+b") as file:
            if try_lock(file):
                _remove(lock_path.parent, file)


def _make(parent: Path) -> tuple[Path, BinaryIO]:
    """A new folder and its locked file.

    Raises `UserError` or an `OSError`. Another session that looks for leftovers may take the lock
    before this one has it, and then removes the folder: hence several attempts.
    """
    os.makedirs(parent, exist_ok=True)
    for _ in range(ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        file = open(folder / LOCK, "xb")  # noqa: SIM115 (open as long as the session lives)
        if try_lock(file) is not False and (folder / LOCK).exists():
            return folder, file
        file.close()
    raise UserError(
        f'No folder for temporary files could be made in "{parent}", because other programs remove'
        " them at once; try again."
    )


def _remove(folder: Path, lock: BinaryIO) -> None:
    """Remove a session's folder, whose lock is held until everything else is gone.

    Windows does not remove a file that is open: there the last step comes after the lock.
    """
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()
    shutil.rmtree(folder, ignore_errors=True)
