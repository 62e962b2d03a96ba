"""What a logic works with: its job runner, the restore points, and the worker's process."""

from __future__ import annotations

import os
import shutil
import sys
import weakref
from collections.abc import Callable

import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.slicer_bridge.scene.restore_point import RestorePoints

from .image_segmentation import ImageSegmenter
from .job_runner import JobRunner

WORKER_LOG = "worker.log"  # in the cache folder


class LogicServices:
    """The working parts of one logic; the worker ends with the logic at the latest."""

    def __init__(self, makeClient: Callable | None, logic):
        self.runner = JobRunner(makeClient or make_client, temporary_folder())
        self.restore_points = RestorePoints()
        self.segmenter = ImageSegmenter(self.runner, self.restore_points, _result_setter(logic))
        self._finalizer = weakref.finalize(logic, self.runner.close)

    def close(self) -> None:
        self._finalizer()


def _result_setter(logic) -> Callable[[Segmentation], None]:
    """A function that sets ``logic.result`` and does not keep the logic alive."""
    reference = weakref.ref(logic)

    def set_result(segmentation: Segmentation) -> None:
        logic = reference()
        if logic is not None:
            logic.result = segmentation

    return set_result


def make_client():
    """A started client of the worker, in Slicer's own Python."""
    from MedLLMSegLib.worker.client import WorkerClient

    client = WorkerClient(python(), environment(), cache_dir() / WORKER_LOG)
    client.start()
    return client


def python() -> str:
    """The Python that runs the worker.

    In Slicer, `PythonSlicer`, which Slicer's launcher puts on the path; outside, this one.
    """
    application = getattr(slicer, "app", None)
    if application is None:
        return sys.executable
    found = shutil.which("PythonSlicer") or shutil.which(
        "PythonSlicer", path=os.path.join(str(application.slicerHome), "bin")
    )
    if found is None:
        raise UserError(
            "Slicer's own Python (PythonSlicer) was not found beside Slicer; install Slicer again."
        )
    return found


def temporary_folder() -> str | None:
    """The folder for temporary files that is set in Slicer; None outside of Slicer."""
    application = getattr(slicer, "app", None)
    return getattr(application, "temporaryPath", None) or None


def environment() -> dict[str, str] | None:
    """The environment that Slicer was started in, without its launcher's settings.

    None outside of Slicer: this process's own.
    """
    return None if getattr(slicer, "app", None) is None else slicer.util.startupEnvironment()
