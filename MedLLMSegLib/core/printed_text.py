"""What libraries in C print, past Python's streams, to the process's descriptors 1 and 2."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def flush_c_streams() -> None:
    """Write out what C's streams still hold, so that it goes where the descriptors lead now."""
    with suppress(OSError, AttributeError):  # a system without such a library
        library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
        library.fflush(None)


@contextmanager
def printed_text() -> Iterator[Callable[[], str]]:
    """Catch what is printed to descriptors 1 and 2; call what it gives, after the block, for the
    text.
    """
    with tempfile.TemporaryFile() as file:
        flush_c_streams()
        before = {}
        for descriptor in (1, 2):
            with suppress(OSError):  # closed from the start
                before[descriptor] = os.dup(descriptor)
                os.dup2(file.fileno(), descriptor)
        text = ""
        try:
            yield lambda: text
        finally:
            flush_c_streams()
            for descriptor, place in before.items():
                os.dup2(place, descriptor)
                os.close(place)
            file.seek(0)
            text = file.read().decode("utf-8", "replace")
