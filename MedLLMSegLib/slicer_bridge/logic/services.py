"""What a logic works with: the runner of its jobs, what they overwrote, and the worker's
process.
"""

from __future__ import annotations

import os
import shutil
import sys
import weakref
from collections.abc import Callable

import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.slicer_bridge.scene.restore_point import Keep

from .jobs import Runner
from .segmentation_job import Segmenting

LOG = "worker.log"  # in the cache folder


class Parts:
    """The parts of one `SegmentationLogic`; the worker ends with it at the latest."""

    def __init__(self, makeClient: Callable | None, logic):
        self.runner, self.keep = Runner(makeClient or make_client), Keep()
        self.segmenting = Segmenting(self.runner, self.keep, _result_setter(logic))
        self._finalizer = weakref.finalize(logic, self.runner.close)

    def close(self) -> None:
        self._finalizer()


def _result_setter(logic) -> Callable:
    there = weakref.ref(logic)

    def set_result(segmentation) -> None:
        if there() is not None:
            there().result = segmentation

    return set_result


def make_client():
    """A started client of the worker, in Slicer's own Python."""
    from MedLLMSegLib.worker.client import WorkerClient

    client = WorkerClient(python(), environment(), cache_dir() / LOG)
    client.start()
    return client


def python() -> str:
    """The Python to run the worker with: Slicer's (`PythonSlicer`, which its launcher puts on
    the path), or this one outside.
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


def environment() -> dict[str, str] | None:
    """The environment that Slicer was started in, without what its launcher set; None outside,
    for this process's own.
    """
    return None if getattr(slicer, "app", None) is None else slicer.util.startupEnvironment()
