"""Unfinished trainings: their cases and run stay in the cache folder until the model is imported.

So a dead worker, a cancel or a crash of Slicer loses no training: the next one with the same pairs
and options resumes it. The cases are copies of patients' scans. Therefore the folder is readable by
its owner alone, and a training that cannot be resumed is removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.file_lock import try_lock
from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.core.safe_files import make_folder, write_error, write_text
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.registry.catalogue import find_model, read_metadata

from .job_runner import JobRunner
from .jobs import Job

CASES, RUN, IDENTITY = "cases", "run", "asked.json"
# what a run resumes from: `training.checkpoint.LAST`, whose import would bring torch
SAVED = "last.pt"
# how a training refuses what lies in its folder
UNUSABLE_RUN_MESSAGES = ("is damaged", "holds a training", "holds no finished training")


@contextmanager
def training_folder(runner: JobRunner, job: Job, name: str) -> Iterator[Path]:
    """The folder in which the model of this id is trained.

    It is removed at the end. If the training fails after its run was saved, it stays, as
    `job.kept`.

    Raises `UserError` if another training, of this Slicer or another one, uses the folder. If the
    training failed because the saved run is unusable, this is said in place of the training's own
    error, and the folder is removed.
    """
    folder = make_folder(_trainings()) / name
    with suppress(OSError):  # a disk that knows no permissions
        folder.parent.chmod(0o700)
    with _lock(folder) as locked:
        if not locked:
            raise UserError(
                f'A model called "{name}" is being trained already; wait for it, or choose another'
                " name."
            )
        try:
            yield folder
        except BaseException as error:  # the end of Slicer, too
            if (folder / RUN / SAVED).exists():
                if _is_unusable(error, folder / RUN):
                    raise UserError(
                        "What was saved of this training cannot be read or no longer fits, and was"
                        " discarded; train again from the beginning."
                    ) from error
                job.kept = str(folder)
            raise
        finally:
            if not job.kept:
                shutil.rmtree(folder, ignore_errors=True)
                runner.remove(folder)  # and whatever the thread for files still writes


def _is_unusable(error: BaseException, run: Path) -> bool:
    """Whether an error is about the files of the run, and not about a full disk or a missing
    package.
    """
    return (
        isinstance(error, UserError)
        and str(run) in str(error)
        and any(message in str(error) for message in UNUSABLE_RUN_MESSAGES)
    )


def unfinished() -> tuple[str, ...]:
    """The ids of the trainings that are kept or running."""
    return tuple(sorted(path.name for path in _trainings().glob("*") if path.is_dir()))


def broken_off() -> tuple[str, ...]:
    """The ids of the trainings that can go on from what they saved, and that no Slicer is running:
    the user cancelled them, or they, their Slicer or the computer stopped.
    """
    return tuple(name for name in unfinished() if _can_go_on(_trainings() / name))


def _can_go_on(folder: Path) -> bool:
    if not ((folder / RUN / SAVED).exists() and (folder / IDENTITY).exists()):
        return False
    try:
        with _lock(folder) as locked:
            return locked
    except UserError:  # a cache that may only be read
        return False


@dataclass(frozen=True)
class SavedTraining:
    """The settings of a training that was broken off, as its folder keeps them.

    request, device: of the worker's request. start: the id of the model that it began with, or
    None.
    """

    request: dict
    device: str

    @property
    def start(self) -> str | None:
        return self.request.get("start")


def saved_training(name: str) -> SavedTraining:
    """The settings of the kept training of this id. Raises `UserError` where it cannot go on."""
    folder = _trainings() / name
    if not (folder / RUN / SAVED).exists():
        raise UserError(f'Nothing is saved of a training "{name}"; train again with the pairs.')
    try:
        asked = parse_json((folder / IDENTITY).read_text(encoding="utf-8"))
        request, device, version = asked["request"], asked["device"], asked["version"]
        has_types = isinstance(request, dict) and isinstance(device, str)
        places = (request["source"], request["output"]) if has_types else ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(name) from error
    if places != (str(folder / CASES), str(folder / RUN)):
        raise _unreadable(name)
    if version != __version__:
        raise UserError(
            f'The training "{name}" was begun by MedLLMSeg {version}, and this is {__version__};'
            " train again with the pairs, or discard it."
        )
    saved = SavedTraining(request, device)
    if saved.start is not None:
        now = read_metadata(find_model(saved.start).folder)["weights_sha256"]
        if now != asked.get("start_sha256"):
            raise UserError(
                f'The model "{saved.start}" is not the one that the training "{name}" began with;'
                " train again with the pairs, or discard it."
            )
    return saved


def _unreadable(name: str) -> UserError:
    return UserError(
        f'The settings of the training "{name}" cannot be read; train again with the pairs, or'
        " discard it."
    )


def discard() -> None:
    """Remove all kept trainings, with their copies of scans; those that are running stay."""
    for name in unfinished():
        with _lock(_trainings() / name) as locked:
            if locked:
                shutil.rmtree(_trainings() / name, ignore_errors=True)


def _trainings() -> Path:
    return cache_dir() / "trainings"


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Lock the training of this folder until the block ends; yields whether that was possible."""
    path = folder.with_name(f"{folder.name}.lock")
    with ExitStack() as closing:
        try:
            # the system releases the lock however this program ends
            file = closing.enter_context(open(path, "wb"))
        except OSError as error:
            raise write_error(folder, error) from error
        yield try_lock(file) is not False  # a disk without locks counts as locked


def resume_or_reset(folder: Path, identity: dict) -> None:
    """Keep an earlier run if it was of the same training; remove it otherwise.

    identity: everything that two trainings have in common if one can resume the other.
    """
    path, text = folder / IDENTITY, json.dumps(identity, indent=1, sort_keys=True)
    if not path.is_file() or path.read_bytes() != text.encode("utf-8"):
        # First: of a run that is half removed when Slicer is killed, nothing may be said to go on.
        path.unlink(missing_ok=True)
        shutil.rmtree(folder / RUN, ignore_errors=True)
    write_text(path, text)
