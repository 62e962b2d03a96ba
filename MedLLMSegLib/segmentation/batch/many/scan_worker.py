"""What a dask worker keeps of a batch: its model, warm from scan to scan; and what it does with one
scan.
"""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from distributed import Worker, WorkerPlugin, get_worker

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.memory import reuse_freed_memory
from MedLLMSegLib.segmentation.batch.outputs import OutputPaths, SegmentOptions
from MedLLMSegLib.segmentation.batch.segment_batch import segment_or_fail
from MedLLMSegLib.segmentation.batch.volumes_table import ScanResult

from .model_request import LoadedModels, ModelRequest

LOADING = threading.Lock()  # of all workers in a process: torch builds networks in one at a time
REPORTS_APART_S = 0.3  # of the same stage: each one goes over the network


@dataclass(frozen=True)
class ScanTask:
    """One scan of a batch. number: from 0, in the order of the batch."""

    number: int
    scan: Path
    paths: OutputPaths


@dataclass(frozen=True)
class Refusal:
    """A worker's answer that it cannot take part. worker: its address. why: a sentence."""

    worker: str
    why: str


class ScanWorker(WorkerPlugin):
    """Lives in each worker from when it joins the batch until the batch ends.

    name: of the batch; its progress is reported as events of this name. options: those of the
    batch; a loaded model in them is not sent. folder: of the results, which the worker must see.
    ours: whether the process was started for this batch, and so leaves Ctrl-C to its owner.
    """

    def __init__(
        self, name: str, request: ModelRequest, options: SegmentOptions, folder: Path, ours: bool
    ) -> None:
        self.name = name
        self.request = request
        self.options = replace(options, with_model=None)
        self.folder = folder
        self.ours = ours

    def setup(self, worker: Worker) -> None:
        """Called by dask in the worker. The model is loaded when the first scan comes."""
        reuse_freed_memory()
        self.worker = worker
        self.one_at_a_time = threading.Lock()  # a worker may have several threads, and one model
        self.ended = threading.Event()
        self.loaded: LoadedModels | None = None
        if self.ours and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: Worker) -> None:
        """Called by dask when the batch ends, also by a cancel: a scan that is worked on stops."""
        self.ended.set()
        self.loaded = None

    def segment(self, task: ScanTask) -> ScanResult | Refusal:
        """Segment one scan; its errors are results. Raises `Cancelled` when the batch has ended."""
        with self.one_at_a_time:
            report = _Report(self, task.number)
            report("load", 0.0)
            try:
                loaded = self._models()
            except UserError as error:
                return Refusal(self.worker.address, str(error))
            options = replace(self.options, with_model=loaded.parts)
            return segment_or_fail(task.scan, task.paths, loaded.model, options, report)

    def _models(self) -> LoadedModels:
        if not self.folder.is_dir():
            raise UserError(
                f'The worker at {self.worker.address} does not see the folder "{self.folder}", so'
                " it takes no part in this batch; scans and results must lie on a disk that all"
                " workers share, under the same path."
            )
        with LOADING:
            if self.loaded is None:
                self.loaded = self.request.load()
        return self.loaded


class _Report:
    """The progress of one scan, sent to who started the batch."""

    def __init__(self, owner: ScanWorker, number: int) -> None:
        self.owner = owner
        self.number = number
        self.stage = ""
        self.sent_at = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        if self.owner.ended.is_set():
            raise Cancelled
        now = time.monotonic()
        if stage == self.stage and now - self.sent_at < REPORTS_APART_S:
            return
        self.stage, self.sent_at = stage, now
        self.owner.worker.log_event(self.owner.name, [self.number, stage, float(fraction)])


def segment_task(batch: str, task: ScanTask) -> ScanResult | Refusal:
    """What dask calls in a worker. batch: the name of its `ScanWorker`."""
    plugin = get_worker().plugins[batch]
    assert isinstance(plugin, ScanWorker)
    return plugin.segment(task)
