"""What libraries print (ITK, VNL, libjpeg, pydicom) goes to the log, and not before our sentences.

Libraries in C++ write to the process's descriptors 1 and 2, past Python's streams. So those two
lead to a file while a command runs, and Python's streams to where they led before.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO, TextIO

from MedLLMSegLib.core.printed_text import flush_c_streams

MOST_NOISE_BYTES = 1 << 16  # of what was printed, the log gets the end
_DESCRIPTORS = {1: "stdout", 2: "stderr"}
# What libraries quote from a file may be a patient's name or birth date.
_QUOTED = re.compile(r"(['\"])(?:(?!\1).)*\1")
_PERSON = re.compile(r"(?i)((?:patient|birth)\w*[^\w\n]{1,4}).*")
_RAISED = re.compile(r"^(?!.*\bUserError: )[\w.]+(?:Error|Exception|Warning)\w*: ", re.MULTILINE)


@contextmanager
def library_noise_to(log: logging.Logger) -> Iterator[None]:
    """Keep what libraries print away from the terminal, and log it when the block ends."""
    with ExitStack() as stack:
        noise: BinaryIO = stack.enter_context(tempfile.TemporaryFile())
        for descriptor, name in _DESCRIPTORS.items():
            with suppress(OSError):  # closed from the start: nothing can be printed there
                stack.enter_context(_moved(descriptor, name, noise))
        try:
            yield
        finally:
            flush_c_streams()
            _log_noise(noise, log)


@contextmanager
def _moved(descriptor: int, name: str, noise: BinaryIO) -> Iterator[None]:
    """Let a descriptor lead to the noise, and Python's stream of that name where it led before."""
    stream: TextIO = getattr(sys, name)
    before = os.dup(descriptor)
    own = _stream_to(before, stream) if _leads_to(stream, descriptor) else None
    with suppress(OSError, ValueError):
        stream.flush()
    os.dup2(noise.fileno(), descriptor)
    if own is not None:
        setattr(sys, name, own)
    try:
        yield
    finally:
        if own is not None:
            setattr(sys, name, stream)
            with suppress(OSError):  # nobody reads it any more
                own.close()
        os.dup2(before, descriptor)
        os.close(before)


def _leads_to(stream: TextIO, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor
    except (AttributeError, OSError, ValueError, io.UnsupportedOperation):
        return False


def _stream_to(descriptor: int, like: TextIO) -> TextIO:
    """A text stream to a copy of a descriptor, with the settings of another one."""
    stream = os.fdopen(os.dup(descriptor), "w", encoding=like.encoding, errors=like.errors)
    stream.reconfigure(line_buffering=like is sys.stderr or stream.isatty())
    return stream


def _log_noise(noise: BinaryIO, log: logging.Logger) -> None:
    size = noise.seek(0, os.SEEK_END)
    noise.seek(max(0, size - MOST_NOISE_BYTES))
    text = noise.read().decode("utf-8", "replace").strip()
    if text:
        log.warning("libraries printed:\n%s", without_persons(text))


def without_persons(text: str) -> str:
    """A library's message without what it quotes from a file, and without patients' data."""
    return _PERSON.sub(r"\1...", _QUOTED.sub("'...'", text))


class PrivateFormatter(logging.Formatter):
    """Leaves out of the log what libraries quote from files. Our own sentences stay as they are."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name.partition(".")[0] == "medllmseg":
            return super().format(record)
        private = logging.makeLogRecord(
            {**record.__dict__, "msg": without_persons(record.getMessage()), "args": None}
        )
        return super().format(private)

    def formatException(self, ei) -> str:
        lines = super().formatException(ei).split("\n")
        return "\n".join(without_persons(line) if _RAISED.match(line) else line for line in lines)
