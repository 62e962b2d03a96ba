"""Work in a process of its own: what it imports, patches and allocates ends with it.

Exporters trace torch and load hundreds of modules for it; NNCF wraps torch's functions. A program
that goes on to segment or to train meets none of that: it gets files, and a description of them.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from MedLLMSegLib.core.errors import UserError, in_short
from MedLLMSegLib.core.own_environment import own_environment

MODULE = "MedLLMSegLib.engines.own_process"
Result = TypeVar("Result")


def in_own_process(work: Callable[..., Result], *arguments: Any) -> Result:
    """What `work(*arguments)` returns, from another Python process.

    work: a function at the top of one of our modules. Arguments and result are pickled. Raises the
    `UserError` that the work raises, and one with the last line that the process wrote where it
    ended in another way.
    """
    with tempfile.TemporaryDirectory(prefix="medllmseg-") as folder:
        answer = Path(folder) / "answer"  # not stdout, which libraries print to
        done = subprocess.run(
            [sys.executable, "-m", MODULE, str(answer)],
            input=pickle.dumps((work, arguments)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=own_environment(),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            check=False,
        )
        if not answer.is_file():
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
            raise UserError(
                f"A process of its own ended before its work was done (exit code"
                f" {done.returncode}: {in_short(lines[-1])}); close other programs, and try again."
            )
        result, error = pickle.loads(answer.read_bytes())
    if error is not None:
        raise UserError(error)
    return cast(Result, result)


def _work(answer: Path) -> None:
    """In the other process: read what is to be done, do it, and write what came of it."""
    work, arguments = pickle.load(sys.stdin.buffer)
    found: tuple[Any, str | None]
    try:
        found = (work(*arguments), None)
    except UserError as error:
        found = (None, str(error))
    unfinished = answer.with_suffix(".part")
    unfinished.write_bytes(pickle.dumps(found))
    unfinished.replace(answer)


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
