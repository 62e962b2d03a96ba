"""The worker's process: reads requests on one thread, so that a cancel is seen at once, and works
on them on the main one.

It says hello at once, loads the Python packages while nobody asks for anything, and ends when its
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
import traceback
from collections import deque
from collections.abc import Callable
from typing import BinaryIO

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.memory import OUT_OF_MEMORY_MESSAGE, is_out_of_memory

from .protocol import LONGEST, STOP_S, VERSION, decode, encode
from .tasks import Engine, Tasks, library_engine

WORK = ("segment", "train", "diagnose", "ping")
PAUSE_S = 0.1  # between two progress events of one stage

logger = logging.getLogger("medllmseg")


def serve(make_engine: Callable[[], Engine] = library_engine) -> None:
    """Be a worker until stdin closes or "quit" comes; then the process ends.

    make_engine: what does the work. It is called first and may take long (the library's imports
    torch).
    """
    requests, answers = own_streams()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C in the program's terminal is the program's business
    faulthandler.enable()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    Server(requests, answers, make_engine).run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nothing is left to tidy, and taking torch and CUDA down can take a second


def own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Stdin and stdout for requests and answers alone.

    Everything else that writes to file descriptor 1, C libraries too, writes to stderr from here
    on; and nothing else reads descriptor 0, which on Windows makes libraries hang that only ask
    what it is while our thread waits on it.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    return requests, answers


class Server:
    """One request at a time, the others wait in order."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, make_engine: Callable[[], Engine]):
        self.requests, self.answers, self.make_engine = requests, answers, make_engine
        self.writing, self.changed = threading.Lock(), threading.Condition()
        self.pending: deque[dict] = deque()
        self.current: int | None = None  # id of the request that is worked on
        self.stop = threading.Event()  # it should not go on
        self.tasks: Tasks | None = None
        self.leaving, self.useless, self.left = False, False, threading.Event()

    def run(self) -> None:
        self._send({"id": None, "event": "hello", "pid": os.getpid(), "protocol": VERSION})
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        try:
            self.tasks = Tasks(self.make_engine())
        except (
            Exception
        ):  # whoever asks for something will hear of it, or it has been mended by then
            logger.exception("the packages could not be loaded")
        while (message := self._next()) is not None:
            self._work(message)
        self.left.set()

    def _next(self) -> dict | None:
        with self.changed:
            self.current = None
            self.changed.wait_for(lambda: self.pending or self.leaving or self.useless)
            if not self.pending or self.leaving:
                return None
            message = self.pending.popleft()
            self.current = message["id"]
            self.stop.clear()
            return message

    def _work(self, message: dict) -> None:
        report, began = Reporter(self._send, message["id"], self.stop), time.monotonic()
        try:
            if self.tasks is None:
                importlib.invalidate_caches()
                self.tasks = Tasks(self._engine_again())
            report.check()
            answer = {"event": "result", **getattr(self.tasks, message["do"])(message, report)}
            report.check()
        except (Exception, SystemExit) as error:
            answer = {"event": "error", **describe(error)}
            logger.log(
                logging.INFO if answer["kind"] == "cancelled" else logging.ERROR,
                "%s",
                answer["details"] or "cancelled",
            )
        logger.info(
            "%s %s: %s after %.1f s",
            message["do"],
            message["id"],
            answer["event"],
            time.monotonic() - began,
        )
        self._send({**answer, "id": message["id"]})
        if answer["event"] == "error" or message["do"] == "train":
            gc.collect()  # tracebacks hold arrays in circles

    def _engine_again(self) -> Engine:
        """Packages that could not be loaded may be there by now; if not, a fresh process tries
        the next time.
        """
        try:
            return self.make_engine()
        except Exception as error:
            self.useless = True
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

    def _read(self) -> None:
        """On a thread: take requests as they come, and leave after the last."""
        try:
            while line := self.requests.readline(LONGEST):
                if self._take(line):
                    break
        except OSError:  # how Windows says that the other end is gone
            logger.info("the requests ended")
        with self.changed:
            self.leaving = True
            self.stop.set()
            self.changed.notify()
        if not self.left.wait(STOP_S):
            os._exit(1)

    def _take(self, line: bytes) -> bool:
        """Whether this request was the last."""
        try:
            message = decode(line)
            number, do = message["id"] if message["do"] != "quit" else 0, message["do"]
            if not isinstance(number, int) or do not in (*WORK, "cancel", "quit"):
                raise ValueError(f"id {number!r}, do {do!r}")
        except (ValueError, KeyError) as error:
            self._send(
                {
                    "id": None,
                    "event": "error",
                    "kind": "unexpected",
                    "message": "A line that is no request was left out.",
                    "details": f"{type(error).__name__}: {one_line(error)}: {line[:200]!r}",
                }
            )
            return False
        if do == "cancel":
            self._cancel(number)
        elif do in WORK:
            self._queue(message)
        return do == "quit"

    def _queue(self, message: dict) -> None:
        with self.changed:
            waits = (
                "start"
                if self.tasks is None
                else "wait"
                if self.pending or self.current is not None
                else None
            )
            self.pending.append(message)
            if waits:  # told before the work can begin
                self._send(
                    {
                        "id": message["id"],
                        "event": "progress",
                        "stage": waits,
                        "fraction": 0.0,
                        "seconds_left": None,
                    }
                )
            self.changed.notify()

    def _cancel(self, number: int) -> None:
        with self.changed:
            waiting = [m for m in self.pending if m["id"] == number]
            for message in waiting:
                self.pending.remove(message)
            if self.current == number:
                self.stop.set()
        if waiting:
            self._send({"id": number, "event": "error", **describe(Cancelled())})

    def _send(self, message: dict) -> None:
        with self.writing:
            try:
                self.answers.write(encode(message))
                self.answers.flush()
            except OSError:  # nobody listens any more; stdin closes, too, and that ends the process
                self.stop.set()


class Reporter:
    """The progress callback of one request: tells, guesses the time left, and raises `Cancelled`
    when it was cancelled.
    """

    def __init__(self, send: Callable[[dict], None], number: int, stop: threading.Event):
        self.send, self.number, self.stop = send, number, stop
        self.stage, self.told_at, self.history = None, 0.0, []
        self.first = (0.0, 0.0)  # when and where the work on which the time left is guessed began
        self.fraction = 1.0

    def __call__(self, stage: str, fraction: float, history: list[dict] = ()) -> None:
        self.check()
        now = time.monotonic()
        if (
            fraction < self.fraction or self.stage == "load"
        ):  # a model takes its time once, and no fraction of the whole
            self.first = (now, fraction)
        kind, before = (
            stage.split(" ", maxsplit=1)[0],
            (self.stage or "").split(" ")[0],
        )  # the text of a training changes with each step
        self.stage, self.fraction = stage, fraction
        self.history += history
        if now - self.told_at >= PAUSE_S or kind != before or history or fraction >= 1:
            self.send(
                {
                    "id": self.number,
                    "event": "progress",
                    "stage": stage,
                    "fraction": round(fraction, 4),
                    "seconds_left": self._seconds_left(now),
                    "history": self.history,
                }
            )
            self.told_at, self.history = now, []

    def _seconds_left(self, now: float) -> float | None:
        took, done = now - self.first[0], self.fraction - self.first[1]
        return round(took / done * (1 - self.fraction), 1) if took > 0.5 and done > 0.02 else None

    def check(self) -> None:
        if self.stop.is_set():
            raise Cancelled

    def log(self, text: str) -> None:
        self.send({"id": self.number, "event": "log", "message": text})


def describe(error: BaseException) -> dict:
    """The kind, message and details of an "error" event."""
    if isinstance(error, Cancelled):
        return {"kind": "cancelled", "message": "", "details": ""}
    details = "".join(traceback.format_exception(error))
    if isinstance(error, UserError):
        return {"kind": "user", "message": one_line(error), "details": details}
    if is_out_of_memory(error):
        return {"kind": "user", "message": OUT_OF_MEMORY_MESSAGE, "details": details}
    return {
        "kind": "unexpected",
        "details": details,
        "message": (
            f"Something unexpected went wrong ({type(error).__name__}: {one_line(error)}); the log"
            " has the details."
        ),
    }


def one_line(error: BaseException) -> str:
    """An error's text without line breaks, and not longer than a panel can show."""
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else text[:400] + " ..."
