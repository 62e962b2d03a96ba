"""The process that reads damaged files, one after the other, under a limit of memory.

    python -m Testing.torture.child BOX

It answers each line "kind seed number" of its stdin with one line of JSON on its stdout, and may
crash or hang: `pool` watches it. BOX/in holds the files of the case; nothing else in BOX may
change.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import resource
import shutil
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

LIMIT_BYTES = 2 << 30
LONGEST_SENTENCE = 1500
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = (
    "os.mkdir",
    "os.rename",
    "os.symlink",
    "os.link",
    "os.remove",
    "os.rmdir",
    "os.truncate",
)


class Watch:
    """Which paths Python opens for writing, makes or removes. `sys.addaudithook` tells."""

    def __init__(self) -> None:
        self.on = False
        self.paths: set[str] = set()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & _WRITES
            if writes and isinstance(path, (str, bytes)) and os.fsdecode(path) != os.devnull:
                self.paths.add(os.path.realpath(os.fsdecode(path)))
        elif event in _CHANGES:
            self.paths |= {os.path.realpath(os.fspath(a)) for a in arguments[:2] if _is_path(a)}


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike))


def limit_memory() -> None:
    """No more than `LIMIT_BYTES` beyond what the packages take."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fault_of_sentence(error: BaseException) -> str:
    """What is wrong with a message to the user; "" if it is one sentence."""
    text = str(error)
    if not text.endswith((".", ".)")) or len(text) > LONGEST_SENTENCE:
        return "no sentence, or too long"
    if any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in text):
        return "control characters in the sentence"
    return ""


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, is that memory ran out."""
    while error is not None:
        if isinstance(error, MemoryError) or re.search(
            r"bad_alloc|allocat|out of memory|not enough memory", str(error), re.I
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def files_in(box: Path) -> dict[str, int]:
    return {
        str(path.relative_to(box)): path.lstat().st_size
        for path in box.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }


def run_case(kind: Any, rng: Random, box: Path, watch: Watch) -> dict[str, Any]:
    """Write the files of one case, read them, and say how it ended."""
    from MedLLMSegLib.core.errors import UserError

    shutil.rmtree(box / "in", ignore_errors=True)
    shutil.rmtree(box / "cache", ignore_errors=True)
    (box / "in").mkdir()
    (box / "tmp").mkdir(exist_ok=True)
    try:
        target = kind.write(rng, box / "in")
    except Exception as error:  # a fault of the torture itself
        detail = "".join(traceback.format_exception(error))
        return {"outcome": "no case", "detail": detail, "seconds": 0.0, "memory": False}
    before = files_in(box)
    outcome, detail, memory = "read", "", False
    watch.paths.clear()
    watch.on, began = True, time.process_time()
    try:
        kind.read(target)
    except UserError as error:
        outcome, detail, memory = "sentence", str(error), out_of_memory(error)
        if wrong := fault_of_sentence(error):
            outcome, detail = "wording", f"{wrong}: {detail[:2000]!r}"
    except (Exception, SystemExit) as error:
        outcome, memory = "traceback", out_of_memory(error)
        detail = "".join(traceback.format_exception(error))[-6000:]
    watch.on = False
    seconds = time.process_time() - began
    strays = _strays(kind, box, before, watch)
    if strays:
        outcome, detail = "stray file", f"{strays}\n{detail}"
    return {"outcome": outcome, "detail": detail, "seconds": seconds, "memory": memory}


def _strays(kind: Any, box: Path, before: dict[str, int], watch: Watch) -> list[str]:
    """Files that appeared, vanished or changed outside the folders that the kind writes into."""
    after = files_in(box)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    strays = [name for name in changed if not name.startswith(kind.writes_into or "\0")]
    root = os.path.realpath(box)
    strays += [path for path in watch.paths if not path.startswith((root, "/dev/", "/proc/"))]
    return sorted(strays)


def main() -> None:
    """Answer requests until stdin ends."""
    box = Path(sys.argv[1]).resolve()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries may print what they like
    os.chdir(box)
    os.environ["MEDLLMSEG_CACHE"] = str(box / "cache")
    (box / "tmp").mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(box / "tmp")  # what is left there is a stray file
    import torch

    from .kinds import KINDS

    torch.set_num_threads(1)
    libc = ctypes.CDLL(None)
    watch = Watch()
    gc.freeze()  # what the packages made need not be looked through after each case
    limit_memory()
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        name, seed, number = line.split()
        answer = run_case(KINDS[name], Random(f"{name} {seed} {number}"), box, watch)
        gc.collect()
        libc.malloc_trim(0)
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
