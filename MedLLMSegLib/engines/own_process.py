"""Work in a process of its own: what it imports, patches and allocates ends with it.

Exporters trace torch and load hundreds of modules for it; NNCF wraps torch's functions. A program
that goes on to segment or to train meets none of that: it gets files, and a description of them.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO, TypeVar, cast

from MedLLMSegLib.core.errors import UserError, in_short
from MedLLMSegLib.core.own_environment import own_environment

MODULE = "MedLLMSegLib.engines.own_process"
ANSWER, LOG = "answer", "log"  # in a folder that both processes know
Result = TypeVar("Result")


def in_own_process(work: Callable[..., Result], *arguments: Any) -> Result:
    """What `work(*arguments)` returns, from another Python process.

    work: a function at the top of one of our modules. Arguments and result are pickled. Raises the
    `UserError` or `OSError` that the work raises, and a `UserError` with the last line that the
    process wrote where it ended in another way. It ends with this process, however that ends.
    """
    with tempfile.TemporaryDirectory(prefix="medllmseg-") as name:
        folder = Path(name)
        exit_code = _run(folder, pickle.dumps((work, arguments)))
        if not (folder / ANSWER).is_file():
            text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
            lines = text.strip().splitlines() or ["no message"]
            raise UserError(
                f"A process of its own ended before its work was done (exit code {exit_code}:"
                f" {in_short(lines[-1])}); close other programs, and try again."
            )
        result, error = pickle.loads((folder / ANSWER).read_bytes())
    if error is not None:
        raise error
    return cast(Result, result)


def _run(folder: Path, task: bytes) -> int:
    """Run the other process to its end; returns its exit code."""
    with (
        (folder / LOG).open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", MODULE, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # libraries print to it
            stderr=log,
            env=own_environment(),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        ) as process,
    ):
        try:
            stdin = cast(BinaryIO, process.stdin)
            with suppress(OSError):  # it ended already, and its log says why
                stdin.write(task)
                stdin.flush()
            return process.wait()  # stdin stays open until then: see `_end_with_owner`
        except BaseException:
            process.kill()
            raise


def _work(folder: Path) -> None:
    """In the other process: read what is to be done, do it, and write what came of it."""
    work, arguments = pickle.load(sys.stdin.buffer)
    Thread(target=_end_with_owner, args=(folder,), daemon=True).start()
    found: tuple[Any, Exception | None]
    try:
        found = (work(*arguments), None)
    except (UserError, OSError) as error:
        found = (None, error)
    unfinished = folder / f"{ANSWER}.part"
    unfinished.write_bytes(pickle.dumps(found))
    unfinished.replace(folder / ANSWER)


def _end_with_owner(folder: Path) -> None:
    """On a thread: stdin closes when its owner ends, or is killed. Nobody waits for the work then,
    nor removes the folder.
    """
    with suppress(OSError):
        os.read(sys.stdin.fileno(), 1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
