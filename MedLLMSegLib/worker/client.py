"""The worker as its owner sees it: requests go in, events come out of `poll`, and no call waits for
the work.

    client = WorkerClient(sys.executable) number = client.submit("segment",
    volume=str(save_volume(volume, folder / "volume")), output=str(folder / "result")) while not
    any(event.final for event in (events := client.poll())):
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
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from .process import Process
from .protocol import EVENTS, STOP_S, Event

MODULE = ("-m", "MedLLMSegLib.worker")
AGAIN = {
    "segment": "press Segment again",
    "train": "press Train again, and it goes on from where it was last saved",
    "diagnose": "press Diagnose again",
}


@dataclass(eq=False)
class _Request:
    """process: the one that works on it. cancelled_at: when a cancel was asked for. ended: its
    last event is there.
    """

    message: dict
    process: Process | None = None
    cancelled_at: float | None = None
    ended: bool = False


class WorkerClient:
    """Owner of at most one worker process at a time; every method may be called from any thread.

    python: the executable, in Slicer PythonSlicer. environment: None for this process's; the
    library's own place is added to PYTHONPATH. log_path: a file for what the worker writes besides
    answers, or None. arguments: what the executable runs.
    """

    def __init__(
        self,
        python: str,
        environment: dict[str, str] | None = None,
        log_path=None,
        cwd=None,
        arguments: Sequence[str] = MODULE,
    ):
        self.command, self.environment, self.log_path, self.cwd = (
            [str(python), *arguments],
            environment,
            log_path,
            cwd,
        )
        self._lock, self._numbers = threading.RLock(), count(1)
        self._process: Process | None = None
        self._requests: dict[int, _Request] = {}  # until their last event was polled
        self._events: deque[Event] = deque()
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and not self._process.ended

    @property
    def ready(self) -> bool:
        """Whether there is a process that said hello; its packages may still be loading."""
        return self.alive and self._process.ready

    def start(self) -> None:
        """Start the process, if there is none, so that a first request finds it warm. Returns at
        once.

        If that fails, it is tried again with the first request, which says so.
        """
        try:
            self._running()
        except OSError:
            pass

    def submit(self, do: str, **fields: Any) -> int:
        """Ask for something (see `protocol`); returns the id that its events carry. Paths may be
        `Path` or text.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("this client was closed")
            number = next(self._numbers)
            self._requests[number] = request = _Request({**fields, "id": number, "do": do})
            self._assign(request)
        self._send(request)
        return number

    def poll(self) -> list[Event]:
        """What happened since the last call, in order."""
        # here, too: in Slicer the main thread keeps the interpreter to itself, and a timer thread
        # may be late
        self._enforce()
        with self._lock:
            events = [self._seen(event) for event in self._events]
            self._events.clear()
        return events

    def cancel(self, number: int) -> None:
        """Give a request up. It ends with an error of kind "cancelled" within `STOP_S` seconds, if
        need be by killing the worker.

        Does nothing for a request whose last event was polled already.
        """
        with self._lock:
            request = self._requests.get(number)
            if request is None or request.cancelled_at is not None:
                return
            request.cancelled_at = time.monotonic()
            if request.ended:
                return
        request.process.send({"id": number, "do": "cancel"})
        timer = threading.Timer(STOP_S, self._enforce)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """Stop the worker, in the middle of its work if need be, within about `STOP_S` seconds;
        what was open is cancelled.
        """
        with self._lock:
            self._closed, process = True, self._process
        if process is not None:
            process.send({"do": "quit"})
            process.close_stdin()
            if not process.wait(STOP_S):
                process.kill()
                process.wait(STOP_S)
        with self._lock:
            for request in self._open():
                self._end(request, kind="cancelled")

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _running(self) -> Process:
        with self._lock:
            if not self.alive:
                self._process = Process(
                    self.command,
                    self.environment,
                    self.log_path,
                    self.cwd,
                    self._receive,
                    self._ended,
                )
            return self._process

    def _assign(self, request: _Request) -> None:
        """Choose the process that works on a request, and start it if there is none."""
        try:
            request.process = self._running()
        except OSError as error:
            self._end(
                request,
                kind="unexpected",
                details=f"{self.command}: {error}",
                message=(
                    f'The worker process could not be started ("{self.command[0]}":'
                    f" {error.strerror}); install the program again."
                ),
            )

    def _send(self, request: _Request) -> None:
        """Not while the lock is held: the reading thread must never wait for somebody who waits
        for a full pipe.
        """
        if not request.ended:
            request.process.send(request.message)

    def _open(self, process: Process | None = None) -> list[_Request]:
        return [r for r in self._requests.values() if not r.ended and process in (None, r.process)]

    def _end(self, request: _Request, **fields) -> None:
        request.ended = True
        self._events.append(Event(request.message["id"], "error", **fields))

    def _seen(self, event: Event) -> Event:
        """An event on its way out: nothing but "cancelled" ends a request that was cancelled."""
        request = self._requests[event.id]
        if event.final:
            del self._requests[event.id]
            if request.cancelled_at is not None:
                return Event(event.id, "error", kind="cancelled")
        return event

    def _receive(self, process: Process, message: dict) -> None:
        with self._lock:
            number = message.get("id")
            request = self._requests.get(number) if isinstance(number, int) else None
            if (
                request is None
                or request.ended
                or request.process is not process
                or message.get("event") not in EVENTS
            ):
                return  # an answer to a line that was no request, or too late
            event = Event.from_message(message)
            request.ended = event.final
            self._events.append(event)

    def _ended(self, process: Process) -> None:
        with self._lock:
            for request in self._open(process):
                if self._closed or request.cancelled_at is not None:
                    self._end(request, kind="cancelled")
                else:
                    self._end(
                        request,
                        kind="unexpected",
                        message=self._why(process, request),
                        details=self._details(process),
                    )

    def _enforce(self) -> None:
        """Kill a worker that did not let go of a cancelled request in time; what else waits for
        it goes to a new one.
        """
        with self._lock:
            now = time.monotonic()
            late = [
                r
                for r in self._open()
                if r.cancelled_at is not None and now - r.cancelled_at >= STOP_S
            ]
            if not late or self._closed:
                return
            process = late[0].process
            process.kill()
            self._process = None if self._process is process else self._process
            for request in self._open(process):
                if request.cancelled_at is not None:
                    self._end(request, kind="cancelled")
            others = self._open(process)
            for request in others:
                self._assign(request)
        for request in others:
            self._send(request)

    def _why(self, process: Process, request: _Request) -> str:
        if not process.ready:
            return (
                f"The worker process could not start (exit code {process.exit_code}); "
                f'its log says why: "{self.log_path}".'
            )
        return (
            "The worker process stopped (it was killed, or the computer ran out of memory); "
            f"{AGAIN.get(request.message['do'], 'try again')}."
        )

    def _details(self, process: Process) -> str:
        """The end of the worker's log."""
        text = f"exit code {process.exit_code}"
        try:
            return (
                f"{text}\n{Path(self.log_path).read_bytes()[-3000:].decode('utf-8', 'replace')}"
                if self.log_path
                else text
            )
        except OSError:
            return text
