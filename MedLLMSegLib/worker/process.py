"""One run of the worker's process, as its owner handles it: started, read on a thread, written to,
killed.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from MedLLMSegLib.core.types import Json, PathLike

from .protocol import decode, encode

LOG_BYTES = 2_000_000  # a longer log begins anew with the next process
LOG_TAIL = 3000  # bytes of the log that the details of an error quote
EXIT_S = 2  # seconds that a process may live after its last answer

logger = logging.getLogger("medllmseg")


class Process:
    """A worker's process, running or ended.

    command: the program and its arguments.
    environment: the process's whole environment (`core.own_environment`).
    log_path: a file for everything that it writes besides answers, or None.
    cwd: its current folder; None for this process's.
    on_message: called on the reading thread with each answer but the hello.
    on_end: called there once, after the last answer.

    OSError if the program cannot be started.

    The program may be a launcher that starts another one and waits for it, as Slicer's PythonSlicer
    does. The other one's pid comes with its hello, and both are killed.
    """

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        log_path: PathLike | None,
        cwd: PathLike | None,
        on_message: Callable[[Process, Json], None],
        on_end: Callable[[Process], None],
    ) -> None:
        self.log_path = log_path
        self.on_message = on_message
        self.on_end = on_end
        self.ready = False  # it said hello
        self.ended = False
        self.exit_code: int | None = None
        self.server_pid: int | None = None  # None until it said hello
        self._write_lock = threading.Lock()
        log = _open_log(log_path)
        try:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log or subprocess.DEVNULL,
                env=environment,
                cwd=cwd,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
                | getattr(subprocess, "NORMAL_PRIORITY_CLASS", 0),
            )
        finally:
            if log:
                log.close()
        self._requests = cast(BinaryIO, self.popen.stdin)
        self._answers = cast(BinaryIO, self.popen.stdout)
        self._thread = threading.Thread(target=self._read, name="MedLLMSeg worker", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        """On a thread of its own: hand on the answers until the process ends."""
        for line in self._answers:
            self._take(line)
        try:
            self.exit_code = self.popen.wait(EXIT_S)
        except subprocess.TimeoutExpired:  # a process that cannot answer any more is of no use
            self.popen.kill()
            self.exit_code = self.popen.wait()
        self.ended = True
        self._answers.close()
        self.close_stdin()
        self.on_end(self)

    def _take(self, line: bytes) -> None:
        """Hand on one answer. Any other line is a launcher's greeting, what a site's Python prints
        as it starts, or damaged, and is left out.
        """
        try:
            message = decode(line)
            if message.get("event") != "hello":
                self.on_message(self, message)
                return
            pid = message.get("pid")
            if not (isinstance(pid, int) and pid > 1):  # others would mean many processes
                raise ValueError(f"pid {pid!r}")
            self.server_pid, self.ready = pid, True
        except (ValueError, KeyError):
            logger.info("not from the worker: %r", line[:200])

    def send(self, message: Json) -> None:
        """Write a request. If the process is gone nothing happens: `on_end` reports it."""
        with self._write_lock:
            try:
                self._requests.write(encode(message))
                self._requests.flush()
            except (OSError, ValueError):  # ValueError: the stream was closed
                logger.info("the worker takes no more requests")

    def close_stdin(self) -> None:
        """Tell the worker that no more requests will come; it ends."""
        with self._write_lock, suppress(OSError):
            self._requests.close()

    def kill(self) -> None:
        """End it at once."""
        if self.ended:
            return
        if self.server_pid not in (None, self.popen.pid):
            kill_signal = getattr(
                signal, "SIGKILL", signal.SIGTERM
            )  # on Windows, every signal kills
            with suppress(OSError):
                os.kill(self.server_pid, kill_signal)
        self.popen.kill()
        if self.server_pid is None:
            # What a launcher may have started is not known yet: it ends when its requests do.
            self.close_stdin()

    def wait(self, seconds: float) -> bool:
        """Whether it ended within some seconds, and `on_end` returned."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def reason_of_end(self, retry_hint: str) -> str:
        """Why it ended before its work was done, as one sentence for the user."""
        if not self.ready:
            return (
                f"The worker process could not start (exit code {self.exit_code}); "
                f'its log says why: "{self.log_path}".'
            )
        return (
            "The worker process stopped (it was killed, or the computer ran out of memory); "
            f"{retry_hint}."
        )

    def details_of_end(self) -> str:
        """The exit code and the end of the log."""
        text = f"exit code {self.exit_code}"
        if self.log_path is None:
            return text
        try:
            tail = Path(self.log_path).read_bytes()[-LOG_TAIL:]
        except OSError:
            return text
        return f"{text}\n{tail.decode('utf-8', 'replace')}"


def _open_log(path: PathLike | None) -> BinaryIO | None:
    """The log, opened for appending; None if there is none or it cannot be written."""
    if path is None:
        return None
    try:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Always for appending: another Slicer's worker writes into the same file.
        log = path.open("ab")
        if log.tell() > LOG_BYTES:
            log.truncate(0)
        return log
    except OSError as error:  # a worker without a log still works
        logger.warning("the worker's log cannot be written: %s", error)
        return None
