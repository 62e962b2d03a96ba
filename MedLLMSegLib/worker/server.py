"""The worker's process. One thread reads requests, so that a cancel is seen at once; the main
thread works on them.

It says hello at once, loads the Python packages before anybody asks for anything, and ends when its
stdin closes: when the program it works for quits, crashes or is killed.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from io import TextIOWrapper
from typing import BinaryIO

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.types import Json

from .failures import describe_error, one_line, release_frames
from .message_checks import check_request
from .priority import take_normal_priority
from .protocol import LONGEST_LINE, STOP_S, VERSION, decode, encode
from .request_progress import RequestProgress
from .tasks import Engine, Tasks, library_engine
from .work_units import WorkUnits

WORK = ("segment", "explain", "train", "diagnose", "ping")

logger = logging.getLogger("medllmseg")


def serve(make_engine: Callable[[], Engine] = library_engine) -> None:
    """Be a worker until stdin closes or "quit" comes; then the process ends.

    make_engine: makes what does the work. It is called first and may take long: the library's own
    imports torch.
    """
    note = take_normal_priority()
    requests, answers = take_streams()
    # Ctrl-C in the owner's terminal is the owner's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    Server(requests, answers, make_engine, (note,) if note else ()).run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # there is nothing to clean up, and taking torch and CUDA down can take a second


def take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Stdin and stdout for requests and answers alone.

    Whatever else writes to file descriptor 1, C libraries too, writes to stderr from here on. And
    nothing else can read descriptor 0: on Windows, libraries that only ask for its type would hang
    while our thread waits on it.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    return requests, answers


class Server:
    """Works on one request at a time; the others wait in order.

    requests, answers: the streams. make_engine: as for `serve`. notes: sentences for the user that
    come with the first result.
    """

    def __init__(
        self,
        requests: BinaryIO,
        answers: BinaryIO,
        make_engine: Callable[[], Engine],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.requests = requests
        self.answers = answers
        self.make_engine = make_engine
        self.notes = notes
        self.tasks: Tasks | None = None  # None until the packages are loaded
        self._units = WorkUnits()
        self._answer_lock = threading.Lock()
        self._queue_changed = threading.Condition()  # guards the four below
        self._waiting: deque[Json] = deque()
        self._current: int | None = None  # id of the request that is worked on
        self._leaving = False  # no more requests will come
        self._broken = False  # the packages could not be loaded, and a fresh process may succeed
        self._stop = threading.Event()  # the current request should not go on
        self._main_thread_ended = threading.Event()

    def run(self) -> None:
        """Work until the last request."""
        self._send({"id": None, "event": "hello", "pid": os.getpid(), "protocol": VERSION})
        threading.Thread(target=self._read_requests, name="requests", daemon=True).start()
        try:
            self.tasks = Tasks(self.make_engine(), self.notes)
        except Exception:  # the first request tries again, and answers with the reason
            logger.exception("the packages could not be loaded")
        while (message := self._next()) is not None:
            self._work(message)
        self._main_thread_ended.set()

    def _next(self) -> Json | None:
        """Wait for the next request; None when there will be none."""
        with self._queue_changed:
            self._current = None
            self._queue_changed.wait_for(lambda: self._waiting or self._leaving or self._broken)
            if not self._waiting or self._leaving:
                return None
            message = self._waiting.popleft()
            self._current = message["id"]
            self._stop.clear()
            return message

    def _work(self, message: Json) -> None:
        began = time.monotonic()
        answer = self._answer(message)
        seconds = time.monotonic() - began
        logger.info(
            "%s %s: %s after %.1f s", message["do"], message["id"], answer["event"], seconds
        )
        self._send({**answer, "id": message["id"]})
        if answer["event"] == "error" or message["do"] == "train":
            gc.collect()  # tracebacks hold arrays in reference cycles

    def _answer(self, message: Json) -> Json:
        """Do what a request asks for; its last answer."""
        progress = RequestProgress(self._send, message["id"], self._stop, self._units)
        try:
            if self.tasks is None:
                importlib.invalidate_caches()
                self.tasks = Tasks(self._engine_again(), self.notes)
            progress.check()
            answer = getattr(self.tasks, message["do"])(message, progress)
            progress.check()
            return {"event": "result", **answer}
        except (Exception, SystemExit) as error:
            description = describe_error(error)
            release_frames(error)
            level = logging.INFO if description["kind"] == "cancelled" else logging.ERROR
            logger.log(level, "%s", description["details"] or "cancelled")
            return {"event": "error", **description}

    def _engine_again(self) -> Engine:
        """Packages that could not be loaded before may be installed by now. If they are not, this
        process ends, and the next request gets a fresh one.
        """
        try:
            return self.make_engine()
        except Exception as error:
            self._broken = True
            if isinstance(error, ModuleNotFoundError):
                raise UserError(
                    f"The Python package {error.name} is missing; press the button in the MedLLMSeg"
                    " module once, which offers to install what is needed."
                ) from error
            raise UserError(
                f"The Python packages could not be loaded ({type(error).__name__}:"
                f" {one_line(error)}); install PyTorch again in the PyTorch Utils module and"
                " restart Slicer."
            ) from error

    def _read_requests(self) -> None:
        """On a thread of its own: take requests as they come; after the last, end the process."""
        try:
            while line := self.requests.readline(LONGEST_LINE):
                if self._take(line):
                    break
        except OSError:  # how Windows says that the other end is gone
            logger.info("the requests ended")
        with self._queue_changed:
            self._leaving = True
            self._stop.set()
            self._queue_changed.notify()
        if not self._main_thread_ended.wait(STOP_S):
            os._exit(1)

    def _take(self, line: bytes) -> bool:
        """Queue or carry out one request; returns whether it was "quit"."""
        try:
            message = decode(line)
            check_request(message)
        except ValueError as error:
            self._refuse(line, error)
            return False
        do = message["do"]
        if do == "cancel":
            self._cancel(message["id"])
        elif do in WORK:
            self._queue(message)
        return bool(do == "quit")

    def _refuse(self, line: bytes, error: Exception) -> None:
        self._send(
            {
                "id": None,
                "event": "error",
                "kind": "unexpected",
                "message": "A line that is not a request was left out.",
                "details": f"{type(error).__name__}: {one_line(error)}: {line[:200]!r}",
            }
        )

    def _queue(self, message: Json) -> None:
        with self._queue_changed:
            stage = self._waiting_stage()
            self._waiting.append(message)
            if stage is not None:  # sent while the lock is held: before the work can begin
                RequestProgress(self._send, message["id"], threading.Event())(stage, 0.0)
            self._queue_changed.notify()

    def _waiting_stage(self) -> str | None:
        """What a new request waits for: the packages ("start"), other requests ("wait") or
        nothing.
        """
        if self.tasks is None:
            return "start"
        return "wait" if self._waiting or self._current is not None else None

    def _cancel(self, number: int) -> None:
        with self._queue_changed:
            cancelled = [message for message in self._waiting if message["id"] == number]
            for message in cancelled:
                self._waiting.remove(message)
            if self._current == number:
                self._stop.set()
        if cancelled:
            self._send({"id": number, "event": "error", **describe_error(Cancelled())})

    def _send(self, message: Json) -> None:
        with self._answer_lock:
            try:
                self.answers.write(encode(message))
                self.answers.flush()
            except OSError:  # nobody listens any more; stdin closes too, which ends the process
                self._stop.set()
