"""`JobRunner` takes jobs on, step by step, while Slicer's window stays responsive.

Steps wait for the worker (`JobRunner.request`) or for a thread of ours that reads and writes files
(`JobRunner.in_thread`).
"""

from __future__ import annotations

import logging
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.worker.protocol import Event

from .jobs import Job, NodeRemoved, Steps, WorkerFailed, failure
from .session_folder import SessionFolder

logger = logging.getLogger("medllmseg")

# Slicer's main thread holds the interpreter while its window is idle: at each poll our thread gets
# it for so many seconds.
THREAD_SLICE_S = 0.02
READERS_SLICE_S = 0.001  # and the threads that read from the worker


@dataclass(eq=False)
class _ActiveJob:
    """A job with its steps, and the request to the worker that it waits for."""

    job: Job
    steps: Steps
    request: int | None = None
    inbox: list[Event] = field(default_factory=list)


class JobRunner:
    """Takes jobs on, a little each time `poll` is called.

    makeClient: makes and starts a `WorkerClient` (or a stand-in) when a job first needs one.
    temporary: where temporary folders are made; None for the system's place for them.
    """

    def __init__(self, makeClient: Callable[[], Any], temporary: PathLike | None = None):
        self._makeClient = makeClient
        self._client: Any = None
        self._session = SessionFolder(temporary)
        self._active: dict[Job, _ActiveJob] = {}
        self._files: ThreadPoolExecutor | None = None
        self._winding_down: set[int] = set()  # requests that were given up, and have not ended
        self._to_remove: list[Path] = []  # folders that they may still write into
        self._polling = False

    @property
    def busy(self) -> bool:
        """Whether there is something to poll for: jobs, or a worker that was told to stop."""
        return bool(self._active or self._winding_down)

    @property
    def client(self):
        """The worker's client; started with the first use."""
        if self._client is None:
            self._client = self._makeClient()
        return self._client

    def add(self, job: Job, steps: Steps) -> Job:
        self._active[job] = _ActiveJob(job, steps)
        return job

    def poll(self) -> None:
        """Take every job as far as it can go without waiting.

        A call from within a callback does nothing.
        """
        if self._polling:
            return
        self._polling = True
        try:
            time.sleep(READERS_SLICE_S)
            self._sort_events()
            for active in list(self._active.values()):
                self._advance(active)
        finally:
            self._polling = False

    def cancel(self, job: Job) -> None:
        """Ask a job to stop; it ends with the next poll, and the worker stops on its own. Only a
        training is "cancelling" until the worker has saved it.

        Does nothing for a job that has ended.
        """
        if job.state != "running":
            return
        job.state = "cancelling"
        request = self._active[job].request
        if request is not None:
            self.client.cancel(request)

    def close(self) -> None:
        """End all jobs and the worker, without calling back."""
        if self._client is not None:
            # First: a worker that was asked to stop still writes into the folders that the steps
            # remove.
            self._client.close()
        for active in list(self._active.values()):
            active.steps.close()
            job = active.job
            job.state = "cancelled"
            job.onProgress = job.onDone = job.onHistory = None
        self._active.clear()
        self._winding_down.clear()
        self._client = None
        if self._files is not None:
            self._files.shutdown(wait=True)  # what is queued there removes temporary folders
            self._files = None
        self._session.close()

    # for the steps of a job

    def request(
        self,
        job: Job,
        do: str,
        check_nodes: Callable[[], None],
        onProgress: Callable[[Event], None],
        **fields,
    ) -> Steps:
        """Steps: send a request to the worker and wait for its end; returns the event "result".

        check_nodes: called while waiting. It raises `NodeRemoved` if the job has become pointless.
        onProgress: gets events "progress".
        """
        active, client = self._active[job], self.client
        active.request = client.submit(do, **fields)
        ended = False
        try:
            while True:
                while active.inbox:
                    event = active.inbox.pop(0)
                    ended = ended or event.final
                    if event.event == "result":
                        if job.state == "cancelling":
                            raise Cancelled  # too late for the worker, not for the scene
                        return event
                    _handle(event, onProgress)
                check_nodes()
                yield
        finally:
            if not (ended or any(event.final for event in active.inbox)):
                client.cancel(active.request)
                self._winding_down.add(active.request)
            active.request = None
            active.inbox.clear()

    def in_thread(self, function: Callable, *arguments, **options) -> Steps:
        """Steps: wait for a function in the thread for files, and return what it returned."""
        future = self._submit(function, *arguments, **options)
        try:
            while not wait([future], THREAD_SLICE_S).done:
                yield
        finally:
            future.cancel()  # if it has not begun
        return future.result()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary folder in the session's own; it is removed afterwards."""
        path = self._session.new_run()
        try:
            yield path
        finally:
            self.remove(path)

    def remove(self, path: Path) -> None:
        """Remove a folder in the thread for files, without waiting, after all earlier writes, and
        when no worker can write into it any more.
        """
        if self._winding_down:
            self._to_remove.append(path)
            return
        try:
            self._submit(shutil.rmtree, path, ignore_errors=True)
        except RuntimeError:  # Python is shutting down, and its threads take no more work
            shutil.rmtree(path, ignore_errors=True)

    def report(
        self, job: Job, stage: str, fraction: float, secondsLeft: float | None = None
    ) -> None:
        """Update a job's progress and pass it on to the caller."""
        job.stage, job.fraction, job.secondsLeft = stage, fraction, secondsLeft
        self.call_back(job, job.onProgress, stage, fraction, secondsLeft)

    def call_back(self, job: Job, callback: Callable | None, *arguments) -> None:
        """Call a callback of the caller's.

        It may raise `Cancelled`; any other failure is logged, and the job goes on.
        """
        if callback is None:
            return
        try:
            callback(*arguments)
        except Cancelled:
            self.cancel(job)
        except Exception:
            logger.exception("a callback failed")
            traceback.print_exc()  # to Slicer's Python console, where the callback's author looks

    def _submit(self, function: Callable, *arguments, **options) -> Future:
        if self._files is None:
            self._files = ThreadPoolExecutor(1, thread_name_prefix="MedLLMSeg")
        return self._files.submit(function, *arguments, **options)

    def _sort_events(self) -> None:
        """Put the worker's new events into the inboxes of the jobs that wait for them."""
        if self._client is None:
            return
        by_request = {
            active.request: active for active in self._active.values() if active.request is not None
        }
        for event in self._client.poll():
            if event.id in by_request:
                by_request[event.id].inbox.append(event)
            elif event.final and event.id in self._winding_down:
                self._winding_down.remove(event.id)
        if not self._winding_down:
            while self._to_remove:
                self.remove(self._to_remove.pop())

    def _advance(self, active: _ActiveJob) -> None:
        job = active.job
        try:
            saved_first = job.kind == "train" and active.request is not None
            if job.state == "cancelling" and not saved_first:
                active.steps.throw(Cancelled)
            else:
                next(active.steps)
        except StopIteration:
            self._end(job, "done")
        except Cancelled as error:
            self._end(job, "cancelled", error)
        except NodeRemoved as error:
            self._end(job, "cancelled", error, str(error))
        except UserError as error:
            self._end(job, "failed", error, str(error))
        except WorkerFailed as error:
            self._end(job, "failed", error, *error.args)
        except Exception as error:
            logger.exception("unexpected")
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            sentence = f"Something unexpected went wrong ({what}); nothing was changed."
            self._end(job, "failed", error, sentence, traceback.format_exc())
        except BaseException as error:  # Ctrl-C in a script's loop
            self._end(job, "cancelled", error)
            raise

    def _end(
        self,
        job: Job,
        state: str,
        error: BaseException | None = None,
        message: str = "",
        details: str = "",
    ) -> None:
        self._active.pop(job, None)
        job.state, job.error, job.message, job.details = state, error, message, details
        if state == "done":
            job.fraction, job.secondsLeft = 1.0, 0.0
        self.call_back(job, job.onDone, job)


def wait_for_scene(scene, check_nodes: Callable[[], None]) -> Steps:
    """Steps: wait until the scene is not being loaded, closed or restored.

    check_nodes: as for `JobRunner.request`.
    """
    check_nodes()
    while scene.IsBatchProcessing():
        yield
        check_nodes()


def _handle(event: Event, onProgress: Callable[[Event], None]) -> None:
    """Act on an event that is no result; raises what an error stands for."""
    if event.event == "progress":
        onProgress(event)
    elif event.event == "log":
        logger.info("worker: %s", event.message)
    elif event.event == "error":
        raise failure(event)
