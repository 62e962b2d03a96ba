"""Trainings that are not finished: their cases and run lie in the cache folder until the model is
imported.

A worker that dies, a cancel and a crash of Slicer so cost no training: the next one that asks for
the same goes on from there. The cases are copies of patients' scans, so the folder is its owner's
alone, and nothing stays that cannot be gone on from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.core.safe_files import make_folder, write_error, write_text

from .jobs import Job, Runner

CASES, RUN, ASKED = "cases", "run", "asked.json"
SAVED = (  # what a run goes on from: `training.checkpoint.LAST`, which torch would come with
    "last.pt"
)
HOPELESS = (
    "is damaged",
    "holds a training",
    "holds no finished training",
)  # as a training refuses what lies in its folder


@contextmanager
def training_folder(runner: Runner, job: Job, name: str) -> Iterator[Path]:
    """The folder in which the model of this id is trained. It goes at the end, unless that is no
    model and the run was saved: then it is `job.kept`.

    Raises `UserError` if another training, of this Slicer or another one, is at work in it; and, in
    place of the training's own, if what was saved can never be gone on from, which goes then, too.
    """
    folder = make_folder(_trainings()) / name
    with suppress(OSError):  # a disk that knows no permissions
        folder.parent.chmod(0o700)
    with _lock(folder) as ours:
        if not ours:
            raise UserError(
                f'A model called "{name}" is being trained already; wait for it, or choose another'
                " name."
            )
        try:
            yield folder
        except BaseException as error:  # the end of Slicer, too
            if (folder / RUN / SAVED).exists():
                if _hopeless(error, folder / RUN):
                    raise UserError(
                        "What was saved of this training cannot be read or no longer fits, and was"
                        " discarded; train again, which begins anew."
                    ) from error
                job.kept = str(folder)
            raise
        finally:
            if not job.kept:
                shutil.rmtree(folder, ignore_errors=True)
                runner.remove(folder)  # and what the thread for files may still write


def _hopeless(error: BaseException, run: Path) -> bool:
    """Whether an error comes from what lies in the run's folder, and not from a full disk, a
    missing package and the like.
    """
    return (
        isinstance(error, UserError)
        and str(run) in str(error)
        and any(words in str(error) for words in HOPELESS)
    )


def unfinished() -> tuple[str, ...]:
    """The ids of the trainings that are kept, or at work."""
    return tuple(sorted(path.name for path in _trainings().glob("*") if path.is_dir()))


def discard() -> None:
    """Remove what is kept of every training, with its copies of scans; of those at work nothing."""
    for name in unfinished():
        with _lock(_trainings() / name) as ours:
            if ours:
                shutil.rmtree(_trainings() / name, ignore_errors=True)


def _trainings() -> Path:
    return cache_dir() / "trainings"


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Whether the training of this folder is ours alone until the block ends."""
    try:
        file = open(
            folder.with_name(f"{folder.name}.lock"), "wb"
        )  # the system lets go of it however this program ends
    except OSError as error:
        raise write_error(folder, error) from error
    with file:
        yield _locked(file)


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
    """Leave an earlier run as it is if it was asked for the same, and make room for a new one
    otherwise.
    """
    path, text = folder / ASKED, json.dumps(asked, indent=1, sort_keys=True)
    if not path.is_file() or path.read_bytes() != text.encode("utf-8"):
        shutil.rmtree(folder / RUN, ignore_errors=True)
    write_text(path, text)
