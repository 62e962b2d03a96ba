"""One run of the worker's process, from the side of the program it works for: started, read on a
thread, written to, killed.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .protocol import decode, encode

LIBRARY = Path(__file__).resolve().parents[1]
LOG_BYTES = 2_000_000  # a log longer than this begins anew with the next process

logger = logging.getLogger("medllmseg")


class Process:
    """A worker's process that runs, or ran.

    command: the program and its arguments. log_path: gets everything that it writes besides
    answers, or None. on_message: called on the reading thread with each answer but the hello.
    on_end: called there once, after the last. Raises OSError if the program cannot be started.

    The program may be a launcher that starts another one and waits for it, as Slicer's PythonSlicer
    does: the other one's pid comes with its hello, and both are killed.
    """

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str] | None,
        log_path,
        cwd,
        on_message: Callable[[Process, dict], None],
        on_end: Callable[[Process], None],
    ):
        self.on_message, self.on_end, self.writing = on_message, on_end, threading.Lock()
        self.ready, self.ended, self.exit_code, self.server_pid = False, False, None, None
        log = _open_log(log_path)
        try:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log or subprocess.DEVNULL,
                env=own_environment(environment),
                cwd=cwd,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        finally:
            if log:
                log.close()
        self.thread = threading.Thread(target=self._read, name="MedLLMSeg worker", daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self.popen.stdout:
            try:
                message = decode(line)
            except ValueError:  # a launcher's greeting, or what a site's Python prints as it starts
                logger.info("not from the worker: %r", line[:200])
                continue
            if message.get("event") == "hello":
                self.server_pid, self.ready = message.get("pid"), True
            else:
                self.on_message(self, message)
        try:
            self.exit_code = self.popen.wait(2)
        except subprocess.TimeoutExpired:  # a process that can answer no more is of no use
            self.popen.kill()
            self.exit_code = self.popen.wait()
        self.ended = True
        self.popen.stdout.close()
        self.close_stdin()
        self.on_end(self)

    def send(self, message: dict) -> None:
        """Write a request. If nobody is there to read it, `on_end` says so."""
        with self.writing:
            try:
                self.popen.stdin.write(encode(message))
                self.popen.stdin.flush()
            except (OSError, ValueError):  # ValueError: closed
                logger.info("the worker takes no more requests")

    def close_stdin(self) -> None:
        """Tell the worker that no request will come; it ends."""
        with self.writing:
            try:
                self.popen.stdin.close()
            except OSError:
                pass

    def kill(self) -> None:
        """End it at once."""
        if self.ended:
            return
        if self.server_pid not in (None, self.popen.pid):
            try:
                os.kill(
                    self.server_pid, getattr(signal, "SIGKILL", signal.SIGTERM)
                )  # on Windows, every signal kills
            except OSError:
                pass
        self.popen.kill()
        if (
            self.server_pid is None
        ):  # what a launcher has started meanwhile is not known yet: it ends when its requests do
            self.close_stdin()

    def wait(self, seconds: float) -> bool:
        """Whether it ended within so many seconds, `on_end` and all."""
        self.thread.join(seconds)
        return not self.thread.is_alive()


def own_environment(environment: dict[str, str] | None) -> dict[str, str]:
    """An environment in which Python finds this very library, and nothing in the current folder by
    accident.

    On Apple's GPU the CPU does what torch lacks there, such as some 3D kernels: torch reads that
    when it is imported.
    """
    known = dict(os.environ if environment is None else environment)
    path = os.pathsep.join([str(LIBRARY.parent), *filter(None, [known.get("PYTHONPATH")])])
    return {"PYTORCH_ENABLE_MPS_FALLBACK": "1", **known, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _open_log(path) -> BinaryIO | None:
    if path is None:
        return None
    try:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "wb" if path.exists() and path.stat().st_size > LOG_BYTES else "ab")
    except OSError as error:  # no log is no reason not to work
        logger.warning("the worker's log cannot be written: %s", error)
        return None
