"""Scans to files by many processes: as `segment_files`, with the same table at the end.

Each worker keeps its model warm. What a killed worker had begun is done by another one. Files are
written as by one process: whole or not at all, with a record beside them; so a batch that was
stopped goes on with any number of processes.
"""

from __future__ import annotations

import logging
import math
import queue
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from distributed import KilledWorker

from MedLLMSegLib.core.errors import UserError, error_in_short
from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.segmentation.batch.outputs import SegmentOptions
from MedLLMSegLib.segmentation.batch.records import find_finished, read_record
from MedLLMSegLib.segmentation.batch.result_folder import ResultFolder
from MedLLMSegLib.segmentation.batch.volumes_table import ScanResult

from .clusters import Computers, connected
from .model_request import LoadedModels, ModelRequest
from .scan_worker import Refusal, ScanTask, ScanWorker, segment_task

if TYPE_CHECKING:
    from distributed import Client, Future

WAIT_S = 15.0  # without a worker, until the user is told
LOOK_S = 0.2  # between two looks for Ctrl-C and a cancel
TASKS_PER_THREAD = 2  # that dask is given at once: what works, and what comes next
KILLED_TEXT = (
    "the processes that worked on it were killed, one after the other; perhaps there is too little"
    " memory, and fewer --workers help"
)
WAITING_TEXT = (
    "Waiting for workers: there is none that can take part. The batch goes on as soon as one joins;"
    " Ctrl-C ends it."
)
SCHEDULER_LOST = (
    "The dask scheduler has ended or given up this batch; what was finished is kept, and the same"
    " command goes on from there."
)

# (index of the scan, stage, fraction of this scan)
BatchReport: TypeAlias = Callable[[int, str, float], None]
logger = logging.getLogger("medllmseg")


def segment_many(
    scans: Sequence[Path],
    place: ResultFolder,
    request: ModelRequest,
    loaded: LoadedModels,
    options: SegmentOptions,
    computers: Computers,
    progress: BatchReport | None = None,
) -> list[ScanResult]:
    """Segment scans into a folder, and write its table at the end.

    request: the model, as the workers find it. loaded: the same one here. Finished scans are
    recognised by it, or by the workers of a scheduler: their devices may run in another precision
    than this computer. One scan that fails stops no other. progress: called with (index of the
    scan, stage, fraction of this scan); what it raises (`Cancelled`) stops the workers, too. Raises
    `UserError` where no worker can take part.
    """
    computers.check()
    place.check()
    make_folder(place.folder)
    # Processes of this computer have our working folder, and name files as they were typed.
    ours = computers.scheduler is None
    shared = place if ours else replace(place, folder=place.folder.absolute())
    named = scans if ours else [scan.absolute() for scan in scans]
    results: dict[int, ScanResult] = {}
    waiting: deque[ScanTask] = deque()
    earlier: dict[int, Json] = {}  # the records that were there before, of the scans that wait
    outputs = shared.outputs(named, options)
    for number, (scan, paths) in enumerate(outputs):
        finished = None
        if ours and not options.overwrite:
            finished = find_finished(scan, paths, loaded.model, options)
        if finished is None:
            earlier[number] = read_record(paths.record) if paths.record else {}
            waiting.append(ScanTask(number, scan, paths))
        else:
            results[number] = ScanResult(scans[number], "skipped", finished)
            if progress is not None:
                progress(number, "skipped", 1.0)
    if waiting:
        with connected(computers) as client:
            run = _Run(client, waiting, progress, measures=loaded.precision_is_open)
            run.work(ScanWorker(run.name, request, options, shared.folder, ours))
        for number, result in run.results.items():
            # What a worker finds finished may be of this run, by a worker that was killed.
            is_new = result.status == "skipped" and result.record != earlier[number]
            status = "done" if is_new else result.status
            results[number] = replace(result, scan=scans[number], status=status)
    ordered = [results[number] for number in range(len(scans))]
    if len(scans) == 1 and ordered[0].status == "failed":
        raise UserError(ordered[0].message)
    place.finish(outputs, ordered)
    return ordered


@dataclass
class _Run:
    """The scans of one batch while the workers have them.

    measures: whether the first scan decides about the precision, so that it has to be done alone.
    """

    client: Client
    waiting: deque[ScanTask]
    progress: BatchReport | None
    measures: bool
    name: str = field(default_factory=lambda: f"medllmseg-{secrets.token_hex(4)}")
    results: dict[int, ScanResult] = field(default_factory=dict)
    tasks: dict[Future[Any], ScanTask] = field(default_factory=dict)  # that dask has
    # Those that only some workers may do, since others refused -> the addresses of these
    pinned: dict[Future[Any], list[str]] = field(default_factory=dict)
    submitted: int = 0  # how often; no two futures have one key
    without_worker_since: float | None = None
    refusals: dict[str, str] = field(default_factory=dict)  # address of a worker -> why
    # What dask's own threads tell: a future that is done, or a line of progress
    events: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def work(self, plugin: ScanWorker) -> None:
        """Until all scans are done. Whatever ends it early ends the workers' work, too."""
        self._join(plugin)
        try:
            while self.waiting or self.tasks:
                self._hand_out()
                self._take_in()
        except OSError as error:  # dask's error of a connection is one, too
            raise UserError(SCHEDULER_LOST) from error
        finally:
            with suppress(OSError, RuntimeError, ValueError):  # the scheduler is gone
                self.client.unsubscribe_topic(self.name)
                self.client.cancel(list(self.tasks), force=True)
                self.client.unregister_worker_plugin(self.name)

    def _join(self, plugin: ScanWorker) -> None:
        self.client.subscribe_topic(self.name, lambda event: self.events.put(event[1]))
        try:
            self.client.register_plugin(plugin, name=self.name)
        except Exception as error:  # of any kind: whatever the worker's import raises
            raise UserError(
                "Not every worker of the dask scheduler has MedLLMSeg"
                f" ({error_in_short(error)}); install the same version for all of them."
            ) from error

    def _hand_out(self) -> None:
        """Give dask what its workers can do now and next."""
        threads = {
            address: worker["nthreads"]
            for address, worker in self.client.scheduler_info(n_workers=-1)["workers"].items()
        }
        accepted = [address for address in threads if address not in self.refusals]
        self._watch_for_workers(accepted)
        if self.refusals and not accepted:
            return
        self._take_back(accepted)
        most = TASKS_PER_THREAD * sum(threads[address] for address in accepted)
        if self.measures and not self.results:
            most = 1
        while self.waiting and len(self.tasks) < max(1, most):
            self._submit(self.waiting.popleft(), accepted if self.refusals else None)

    def _watch_for_workers(self, accepted: Sequence[str]) -> None:
        """Tell the user, once, that nobody works. Raises `UserError` where all have refused.

        A worker that did a scan and ended may come back, under another address.
        """
        if accepted:
            self.without_worker_since = None
            return
        if self.refusals and not self.results:
            raise UserError(next(iter(self.refusals.values())))
        now = time.monotonic()
        if self.without_worker_since is None:
            self.without_worker_since = now
        elif now - self.without_worker_since > WAIT_S:
            logger.warning("%s", WAITING_TEXT)
            self.without_worker_since = math.inf  # told

    def _take_back(self, accepted: Sequence[str]) -> None:
        """The tasks that wait for workers which have all ended."""
        for future, workers in list(self.pinned.items()):
            if not future.done() and not any(address in accepted for address in workers):
                del self.pinned[future]
                self.waiting.appendleft(self.tasks.pop(future))
                self.client.cancel([future], force=True)

    def _submit(self, task: ScanTask, workers: list[str] | None) -> None:
        future = self.client.submit(
            segment_task,
            self.name,
            task,
            key=(self.name, task.number, self.submitted),
            workers=workers,
            pure=False,
        )
        self.submitted += 1
        self.tasks[future] = task
        if workers is not None:
            self.pinned[future] = workers
        future.add_done_callback(self.events.put)

    def _take_in(self) -> None:
        """Wait a moment for what the workers tell."""
        try:
            event = self.events.get(timeout=LOOK_S)
        except queue.Empty:
            return
        if isinstance(event, list | tuple):
            number, stage, fraction = event
            if number not in self.results:
                self._report(number, stage, fraction)
        elif event in self.tasks:
            self.pinned.pop(event, None)
            self._finish(event, self.tasks.pop(event))

    def _finish(self, future: Future[Any], task: ScanTask) -> None:
        answer = self._answer(future, task)
        if isinstance(answer, Refusal):
            logger.warning("%s", answer.why)
            self.refusals[answer.worker] = answer.why
            self.waiting.appendleft(task)
            return
        self.results[task.number] = answer
        self._report(task.number, answer.status, 1.0)

    def _answer(self, future: Future[Any], task: ScanTask) -> ScanResult | Refusal:
        if future.status == "finished":
            answer: ScanResult | Refusal = future.result()
            return answer
        if future.status == "cancelled":
            raise UserError(SCHEDULER_LOST)
        error = future.exception()
        logger.warning("%s: %s", task.scan, error)
        killed = isinstance(error, KilledWorker)
        message = KILLED_TEXT if killed or error is None else error_in_short(error)
        return ScanResult(task.scan, "failed", {}, message)

    def _report(self, number: int, stage: str, fraction: float) -> None:
        if self.progress is not None:
            self.progress(number, stage, fraction)
