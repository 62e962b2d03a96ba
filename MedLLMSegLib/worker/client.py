"""The worker as its owner sees it: requests go in, events come out of `poll`, and no call waits for
the work.

    client = WorkerClient(sys.executable)
    volume_folder = save_volume(volume, folder / "volume")
    client.submit("segment", volume=volume_folder, output=folder / "result")
    while not any(event.final for event in (events := client.poll())):
        time.sleep(0.1)
    client.close()

Each request ends with exactly one event "result" or "error". A worker that dies ends its requests
with an error, and the next request starts another one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from MedLLMSegLib.core.own_environment import own_environment
from MedLLMSegLib.core.types import Json, PathLike

from .process import Process
from .protocol import EVENTS, STOP_S, Event
from .work_units import Patience

MODULE = ("-m", "MedLLMSegLib.worker")
RETRY_HINTS = {
    "segment": "press Segment again",
    "train": "press Train again, and it goes on from where it was last saved",
    "diagnose": "press Diagnose again",
}


@dataclass(eq=False)
class _Request:
    """A request until its last event was polled.

    message: as it is sent. process: the one that works on it; None where none could be started.
    cancelled_at: when its cancel was asked for (`time.monotonic`), or None. unit_s: the longest
    unit of the work that it is in, None while it is not known. ended: whether its last event is
    waiting to be polled.
    """

    message: Json
    process: Process | None = None
    cancelled_at: float | None = None
    unit_s: float | None = None
    ended: bool = False

    def send(self, message: Json) -> None:
        """Write to the process that works on it, if there is one."""
        if self.process is not None:
            self.process.send(message)


class WorkerClient:
    """Owner of at most one worker process at a time. Every method may be called from any thread.

    python: the executable; in Slicer, PythonSlicer.
    environment: of the process; None for a copy of this one's. The library's own folder is added to
        its PYTHONPATH.
    log_path: a file for everything that the worker writes besides answers, or None.
    cwd: the process's current folder; None for this one's.
    arguments: what the executable runs.
    patience: how long it may go on with a request that was cancelled.
    """

    def __init__(
        self,
        python: str,
        environment: dict[str, str] | None = None,
        log_path: PathLike | None = None,
        cwd: PathLike | None = None,
        arguments: Sequence[str] = MODULE,
        patience: Patience | None = None,
    ) -> None:
        self.command = [str(python), *arguments]
        self.environment = environment
        self.log_path = log_path
        self.cwd = cwd
        self.patience = patience or Patience()
        self._lock = threading.RLock()
        self._numbers = count(1)
        self._process: Process | None = None
        self._with_engine: Process | None = None  # the last one that ran another engine than torch
        self._requests: dict[int, _Request] = {}  # by id, until their last event was polled
        self._events: deque[Event] = deque()
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and not self._process.ended

    @property
    def ready(self) -> bool:
        """Whether there is a process that said hello; its packages may still be loading."""
        process = self._process
        return process is not None and not process.ended and process.ready

    def start(self) -> None:
        """Start the process, if there is none, so that the first request finds it warm. Returns at
        once.

        A failure is not reported here: the first request tries again, and reports it.
        """
        with suppress(OSError):
            self._running_process()

    def submit(self, do: str, **fields: Any) -> int:
        """Send a request (see `protocol`); returns the id that its events carry.

        do: "segment", "diagnose", "train" or "ping". fields: of the request; paths may be `Path` or
        text. RuntimeError if the client was closed.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("this client was closed")
            number = next(self._numbers)
            self._requests[number] = request = _Request({**fields, "id": number, "do": do})
            if do == "train":
                self._leave_other_engines()
            self._assign(request)
            if "engine" in fields:
                self._with_engine = request.process
        self._send(request)
        return number

    def poll(self) -> list[Event]:
        """What happened since the last call, in order."""
        # In Slicer the main thread keeps the interpreter to itself, so that a timer thread may be
        # late: overdue cancels are looked for here, too.
        self._kill_if_overdue()
        with self._lock:
            events = [self._polled(event) for event in self._events]
            self._events.clear()
        return events

    def cancel(self, number: int) -> None:
        """Give a request up. It ends with an error of kind "cancelled" as soon as the worker hears
        of it; a worker that takes longer than `patience` is killed.

        Does nothing for a request whose last event was polled before.
        """
        with self._lock:
            request = self._requests.get(number)
            if request is None or request.cancelled_at is not None:
                return
            request.cancelled_at = time.monotonic()
            if request.ended:
                return
        request.send({"id": number, "do": "cancel"})
        self._watch(request)

    def close(self) -> None:
        """Stop the worker within about `STOP_S` seconds, in the middle of its work if need be. Open
        requests end as cancelled.
        """
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            process.send({"do": "quit"})
            process.close_stdin()
            if not process.wait(STOP_S):
                process.kill()
                process.wait(STOP_S)
        with self._lock:
            for request in self._open():
                self._end_cancelled(request)

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _running_process(self) -> Process:
        """The process; started if there is none. OSError if it cannot be started."""
        with self._lock:
            process = self._process
            if process is None or process.ended:
                process = self._process = Process(
                    self.command,
                    own_environment(self.environment),
                    self.log_path,
                    self.cwd,
                    on_message=self._receive,
                    on_end=self._process_ended,
                )
            return process

    def _leave_other_engines(self) -> None:
        """A training gets a process in which no other engine than torch has run: one that followed
        it in the same process once ended it (docs/edge.md).
        """
        process = self._process
        if process is not None and process is self._with_engine and not self._open(process):
            process.close_stdin()  # it ends
            self._process = None

    def _assign(self, request: _Request) -> None:
        """Choose the process that works on a request, and start it if there is none."""
        try:
            request.process = self._running_process()
        except OSError as error:
            message = (
                f'The worker process could not be started ("{self.command[0]}":'
                f" {error.strerror}); install the program again."
            )
            self._fail(request, message, f"{self.command}: {error}")

    def _send(self, request: _Request) -> None:
        """Call it without holding the lock: the reading thread, which needs the lock, must never
        wait for a thread that waits for a full pipe.
        """
        if not request.ended:
            request.send(request.message)

    def _open(self, process: Process | None = None) -> list[_Request]:
        """The requests without a last event; those of one process, or of all."""
        requests = self._requests.values()
        return [r for r in requests if not r.ended and process in (None, r.process)]

    def _fail(self, request: _Request, message: str, details: str) -> None:
        number = request.message["id"]
        event = Event(number, "error", message=message, details=details, kind="unexpected")
        self._end(request, event)

    def _end_cancelled(self, request: _Request) -> None:
        self._end(request, Event(request.message["id"], "error", kind="cancelled"))

    def _end(self, request: _Request, event: Event) -> None:
        request.ended = True
        self._events.append(event)

    def _polled(self, event: Event) -> Event:
        """An event as the owner gets it: nothing but "cancelled" ends a cancelled request."""
        request = self._requests[event.id]
        if event.final:
            del self._requests[event.id]
            if request.cancelled_at is not None:
                return Event(event.id, "error", kind="cancelled")
        return event

    def _receive(self, process: Process, message: Json) -> None:
        """On the reading thread: one answer of a process."""
        with self._lock:
            request = self._request_of(process, message)
            if request is None or message.get("event") not in EVENTS:
                return
            event = Event.from_message(message)
            request.ended = event.final
            if event.event == "progress":
                request.unit_s = event.unit_s
            self._events.append(event)

    def _request_of(self, process: Process, message: Json) -> _Request | None:
        """The open request that an answer belongs to. None if it comes too late, or answers a line
        that was not a request.
        """
        number = message.get("id")
        request = self._requests.get(number) if isinstance(number, int) else None
        if request is None or request.ended or request.process is not process:
            return None
        return request

    def _process_ended(self, process: Process) -> None:
        """On the reading thread: a process ended, wanted or not."""
        with self._lock:
            for request in self._open(process):
                if self._closed or request.cancelled_at is not None:
                    self._end_cancelled(request)
                else:
                    hint = RETRY_HINTS.get(request.message["do"], "try again")
                    self._fail(request, process.reason_of_end(hint), process.details_of_end())

    def _watch(self, request: _Request) -> None:
        """Look for a cancelled request on a thread, when its time is up, for an owner that does not
        poll.
        """
        timer = threading.Timer(max(0.0, self._seconds_left(request)), self._look, (request,))
        timer.daemon = True
        timer.start()

    def _look(self, request: _Request) -> None:
        self._kill_if_overdue()
        if not request.ended and not self._closed:  # it has got more time since
            self._watch(request)

    def _seconds_left(self, request: _Request) -> float:
        """How long the worker may still go on with a cancelled request."""
        began = request.cancelled_at or 0.0
        return began + self.patience.seconds(request.unit_s) - time.monotonic()

    def _kill_if_overdue(self) -> None:
        """Kill a worker that goes on with a cancelled request for too long. The other requests that
        it had go to a new process.
        """
        with self._lock:
            process = self._overdue_process()
            if process is None or self._closed:
                return
            process.kill()
            self._process = None if self._process is process else self._process
            for request in self._open(process):
                if request.cancelled_at is not None:
                    self._end_cancelled(request)
            others = self._open(process)
            for request in others:
                self._assign(request)
        for request in others:
            self._send(request)

    def _overdue_process(self) -> Process | None:
        for request in self._open():
            if request.cancelled_at is not None and self._seconds_left(request) <= 0:
                return request.process
        return None
