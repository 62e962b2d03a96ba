"""Work that goes on while the window lives: a `Job` for whoever looks on, and `Runner`, which takes
jobs step by step.

The steps of a job are a generator on the main thread, the only one that may touch MRML nodes. It
yields whenever it has to wait: for the worker (`Runner.request`) or for a thread of ours that reads
and writes files (`Runner.in_thread`).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.worker.protocol import Event

logger = logging.getLogger("medllmseg")

RUNNING = ("running", "cancelling")
# Slicer's main thread keeps the interpreter while its window waits: so long a thread gets it at
# each poll
LENT_S = 0.02
Steps = Generator[None, None, Any]


class WorkerFailed(Exception):
    """What the worker did not expect. args: a sentence for the user, and details for the log."""


class Removed(Exception):
    """A node that a job needs has left the scene: the user deleted it, or closed the scene."""


@dataclass(eq=False)
class Job:
    """One run, for whoever looks on; only `Runner` changes it.

    state: "running", "cancelling", "done", "failed" or "cancelled". message: one sentence for the
    user, "" if there is nothing to say; details: more for the log. stage, fraction (0 to 1),
    secondsLeft (None: not known): how far it is. Of a segmentation: segmentationNode,
    uncertaintyNode (None unless asked for), rows (structure's name, volume in mL, mean confidence
    or None), notes (sentences). Of a sequence: itemRows (index value -> rows), their means as rows,
    and tableNode, which holds the volumes of each image. Of a diagnosis: tableNode, heatMapNode (or
    None), diagnosis (a `Diagnosis` without its maps), rows (class, probability, threshold or None,
    whether it is the answer), notes. needsScene: closing the scene makes it pointless; a training
    has all that it needs once its cases are written. Of a training: history (rows such as {"step",
    "loss"} or {"step", "val_dice"}), model (the new `ModelEntry`), kept (the folder that a later
    training goes on from, with copies of the scans; "" if nothing is kept).
    """

    kind: str = "segment"
    state: str = "running"
    message: str = ""
    details: str = ""
    stage: str = ""
    fraction: float = 0.0
    secondsLeft: float | None = None
    needsScene: bool = True
    segmentationNode: Any = None
    uncertaintyNode: Any = None
    rows: tuple = ()
    notes: tuple[str, ...] = ()
    itemRows: dict[str, tuple] = field(default_factory=dict)
    tableNode: Any = None
    heatMapNode: Any = None
    diagnosis: Any = None
    history: list[dict] = field(default_factory=list)
    model: Any = None
    kept: str = ""
    error: BaseException | None = None
    onProgress: Callable | None = field(default=None, repr=False)
    onDone: Callable | None = field(default=None, repr=False)
    onHistory: Callable | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        return self.state in RUNNING


@dataclass(eq=False)
class _Run:
    """A job with its steps, and the request to the worker that it waits for."""

    job: Job
    steps: Steps
    request: int | None = None
    inbox: list[Event] = field(default_factory=list)


class Runner:
    """Takes jobs along, a little each time `poll` is called.

    makeClient: makes and starts a `WorkerClient` (or a stand-in) when a job first needs one.
    """

    def __init__(self, makeClient: Callable[[], Any]):
        self._makeClient, self._client = makeClient, None
        self._runs: dict[Job, _Run] = {}
        self._files: ThreadPoolExecutor | None = None
        self._polling = False

    @property
    def busy(self) -> bool:
        return bool(self._runs)

    @property
    def client(self):
        """The worker's client; started with the first use."""
        if self._client is None:
            self._client = self._makeClient()
        return self._client

    def add(self, job: Job, steps: Steps) -> Job:
        self._runs[job] = _Run(job, steps)
        return job

    def poll(self) -> None:
        """Take every job as far as it can go without waiting. A call from within a callback does
        nothing.
        """
        if self._polling:
            return
        self._polling = True
        try:
            time.sleep(
                0.001
            )  # lets the threads that read from the worker have the interpreter for a moment
            by_request = {
                run.request: run for run in self._runs.values() if run.request is not None
            }
            for event in self._client.poll() if self._client else ():
                if event.id in by_request:
                    by_request[event.id].inbox.append(event)
            for run in list(self._runs.values()):
                self._advance(run)
        finally:
            self._polling = False

    def cancel(self, job: Job) -> None:
        """Ask a job to stop; it is "cancelling" until the worker has let go. For a job that has
        ended, nothing happens.
        """
        if job.state != "running":
            return
        job.state, run = "cancelling", self._runs[job]
        if run.request is not None:
            self.client.cancel(run.request)

    def close(self) -> None:
        """End all jobs and the worker, without calling back."""
        if self._client is not None:
            # first: a worker that is told to stop still writes into the folders that the steps
            # remove
            self._client.close()
        for run in list(self._runs.values()):
            run.steps.close()
            run.job.state, run.job.onProgress, run.job.onDone, run.job.onHistory = (
                "cancelled",
                None,
                None,
                None,
            )
        self._runs.clear()
        self._client = None
        if self._files is not None:
            self._files.shutdown(
                wait=True
            )  # what is left to do there is to remove temporary folders
            self._files = None

    # for the steps of a job

    def request(
        self,
        job: Job,
        do: str,
        still: Callable[[], None],
        onProgress: Callable[[Event], None],
        **fields,
    ) -> Steps:
        """Steps: send a request to the worker and wait for its end; returns the event "result".

        still: called while waiting; raises `Removed` if the job makes no sense any more, which ends
        it when the worker has let go of its files. onProgress: gets events "progress".
        """
        run, client = self._runs[job], self.client
        run.request, ended, removed = client.submit(do, **fields), False, None
        try:
            while True:
                while run.inbox:
                    event = run.inbox.pop(0)
                    ended = ended or event.event in ("result", "error")
                    if ended and removed:
                        raise removed
                    if event.event == "progress":
                        onProgress(event)
                    elif event.event == "log":
                        logger.info("worker: %s", event.message)
                    elif event.event == "result" and job.state == "cancelling":
                        raise Cancelled  # too late for the worker, not for the scene
                    elif event.event == "result":
                        return event
                    elif event.event == "error":
                        raise _failure(event)
                try:
                    removed or still()
                except Removed as error:
                    removed = error
                    client.cancel(run.request)
                yield
        finally:
            if not ended:
                client.cancel(run.request)
            run.request = None
            run.inbox.clear()

    def in_thread(self, function: Callable, *arguments, **options) -> Steps:
        """Steps: wait for a function in the thread for files, and return what it returned."""
        future = self._submit(function, *arguments, **options)
        try:
            while not wait([future], LENT_S).done:
                yield
        finally:
            future.cancel()  # if it has not begun
        return future.result()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary folder; it is removed afterwards."""
        path = Path(tempfile.mkdtemp(prefix="MedLLMSeg-"))
        try:
            yield path
        finally:
            self.remove(path)

    def remove(self, path: Path) -> None:
        """Remove a folder in the thread for files, without waiting, after whatever still writes
        there.
        """
        try:
            self._submit(shutil.rmtree, path, ignore_errors=True)
        except RuntimeError:  # Python ends, and its threads take nothing more
            shutil.rmtree(path, ignore_errors=True)

    def report(
        self, job: Job, stage: str, fraction: float, secondsLeft: float | None = None
    ) -> None:
        """Say how far a job is."""
        job.stage, job.fraction, job.secondsLeft = stage, fraction, secondsLeft
        self.tell(job, job.onProgress, stage, fraction, secondsLeft)

    def tell(self, job: Job, callback: Callable | None, *arguments) -> None:
        """Call back; a callback may raise `Cancelled`, and any other failure is its own."""
        if callback is None:
            return
        try:
            callback(*arguments)
        except Cancelled:
            self.cancel(job)
        except Exception:
            logger.exception("a callback failed")
            # into Slicer's Python console: whoever wrote the callback looks there
            traceback.print_exc()

    def _submit(self, function: Callable, *arguments, **options) -> Future:
        if self._files is None:
            self._files = ThreadPoolExecutor(1, thread_name_prefix="MedLLMSeg")
        return self._files.submit(function, *arguments, **options)

    def _advance(self, run: _Run) -> None:
        job = run.job
        try:
            if job.state == "cancelling" and run.request is None:  # nobody else has to let go
                run.steps.throw(Cancelled)
            else:
                next(run.steps)
        except StopIteration:
            self._end(job, "done")
        except Cancelled as error:
            self._end(job, "cancelled", error)
        except Removed as error:
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
        self._runs.pop(job, None)
        job.state, job.error, job.message, job.details = state, error, message, details
        if state == "done":
            job.fraction, job.secondsLeft = 1.0, 0.0
        self.tell(job, job.onDone, job)


def calm(scene, still: Callable[[], None]) -> Steps:
    """Steps: wait until the scene is not being loaded, closed or restored. still: as for
    `Runner.request`.
    """
    still()
    while scene.IsBatchProcessing():
        yield
        still()


def _failure(event: Event) -> Exception:
    if event.kind == "cancelled":
        return Cancelled()
    if event.kind == "user":
        return UserError(event.message)
    return WorkerFailed(event.message, event.details)
