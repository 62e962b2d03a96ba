"""What C and C++ libraries print past Python goes to the log: the user reads our one sentence."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

logger = logging.getLogger("medllmseg")

_STDERR = 2
_MOST_BYTES = 4000  # of what was printed, for the log


@contextmanager
def native_errors_logged() -> Iterator[None]:
    """Write what is printed to the process's error descriptor meanwhile to the log, at level INFO.

    The descriptor is the process's: what other threads print at this moment goes along.
    """
    try:
        saved = os.dup(_STDERR)
    except OSError:  # a program without a console has none
        yield
        return
    with tempfile.TemporaryFile() as printed:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(printed.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
            _log(printed)


def _log(printed: IO[bytes]) -> None:
    printed.seek(0)
    text = printed.read(_MOST_BYTES).decode("utf-8", "replace").strip()
    if text:
        logger.info("a library printed: %s", text)
