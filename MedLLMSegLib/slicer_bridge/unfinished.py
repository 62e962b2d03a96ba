"""Trainings that are not finished: their cases and run lie in the cache folder until the model is imported.

A worker that dies, a cancel and a crash of Slicer so cost no training: the next one that asks for the same goes on from there.
"""
from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator

from ..errors import UserError
from ..outputs import make_folder, write_text
from ..places import cache_dir
from .jobs import Runner

CASES, RUN, ASKED = "cases", "run", "asked.json"


@contextmanager
def training_folder(runner: Runner, name: str) -> Iterator[Path]:
    """The folder in which the model of this id is trained; it stays where the worker has begun, and goes otherwise.

    Raises `UserError` if another training, of this Slicer or another one, is at work in it.
    """
    folder = make_folder(cache_dir() / "trainings") / name
    with open(folder.with_name(f"{name}.lock"), "wb") as lock:  # the system lets go of it however this program ends
        if not _locked(lock):
            raise UserError(f'A model called "{name}" is being trained already; wait for it, or choose another name.')
        try:
            yield folder
        finally:
            if not (folder / RUN).exists():
                runner.remove(folder)


def _locked(file: BinaryIO) -> bool:
    """Whether a file is ours alone from now on, or its disk knows no locks."""
    try:
        try:
            import fcntl
        except ImportError:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True


def take_up(folder: Path, asked: dict) -> None:
    """Leave an earlier run as it is if it was asked for the same, and make room for a new one otherwise."""
    path, text = folder / ASKED, json.dumps(asked, indent=1, sort_keys=True)
    if not path.is_file() or path.read_bytes() != text.encode("utf-8"):
        shutil.rmtree(folder / RUN, ignore_errors=True)
    write_text(path, text)
