"""What the panel's sections that run something have in common: a job, its progress, its cancel,
a map over the views. Qt side.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import qt

from MedLLMSegLib.slicer_bridge.logic.job_runner import THREAD_SLICE_S
from MedLLMSegLib.slicer_bridge.presenter.panel_state import BUSY

POLL_MS = 100


class JobSection:
    """A section that runs one job at a time. task: its name in the panel's state. model: the
    `ModelEntry` that it uses, or None.

    widget: the module's widget. job: the one that runs, or None.
    """

    task, model, needs_model = "", None, True

    def __init__(self, widget):
        self.widget, self.job, self._began = widget, None, 0.0

    def onButton(self) -> None:
        state = self.widget.panel.state
        if state == "installing":
            self.widget.consent.stop()
        elif state in BUSY:
            self.cancel()
        elif self.model is not None or not self.needs_model:
            self.widget.consent.ask(self)

    def begin(self) -> None:
        """Start, as all that was to be asked was answered."""
        raise NotImplementedError

    def run(self, begin: Callable, **fields) -> None:
        """Begin a job: begin(onProgress=, onDone=) returns it. fields: of the panel's state,
        what the section shows meanwhile.
        """
        self._began = time.monotonic()
        self.widget.change(
            state="running",
            task=self.task,
            stage="start",
            fraction=0.0,
            seconds_left=None,
            **fields,
        )
        try:
            self.job = begin(onProgress=self.onProgress, onDone=self.onDone)
        except Exception as error:
            self.widget.consent.fail(self.task, error)

    def cancel(self) -> None:
        """Stop the job; the panel says so until it has let go."""
        if self.job is not None:
            self.widget.logic.cancel(self.job)
            self.widget.change(state="cancelling")

    def leave_scene(self) -> None:
        """The scene is being closed: stop a job that needs it."""
        if self.job is not None and self.job.needsScene:
            self.cancel()

    def onProgress(self, stage: str, fraction: float, secondsLeft: float | None) -> None:
        self.widget.change(stage=stage, fraction=fraction, seconds_left=secondsLeft)

    def onDone(self, job) -> None:
        raise NotImplementedError

    @property
    def seconds(self) -> float:
        """Since the job began."""
        return time.monotonic() - self._began


class FileTask:
    """Files are read and written in a thread while the window lives; then ``done`` gets the
    future, on the main thread.
    """

    def __init__(self, act: Callable, done: Callable[[Future], None]):
        threads = ThreadPoolExecutor(1, thread_name_prefix="MedLLMSeg files")
        self._future, self._done = threads.submit(act), done
        threads.shutdown(wait=False)
        self._look()

    def _look(self) -> None:
        if wait([self._future], THREAD_SLICE_S).done:
            self._done(self._future)
        else:
            qt.QTimer.singleShot(POLL_MS, lambda: self._look())  # which keeps this object


class MapOverlay:
    """The map that a section lays over the slice views, one at a time. lay: (owner of a map,
    show) -> None. log: as the panel's.
    """

    def __init__(self, lay: Callable, log):
        self._lay, self._log, self._owner = lay, log, None

    def update(self, wanted) -> None:
        """Show the map of a node, and none of the one before; None for no map."""
        if wanted is self._owner:
            return
        before, self._owner = self._owner, wanted
        for owner, show in ((before, False), (wanted, True)):
            if owner is not None and owner.GetScene() is not None:
                try:
                    self._lay(owner, show)
                except Exception as error:  # the map was deleted
                    self._log.sentence(error)

    def forget(self) -> None:
        """Let go of the node; the scene is being closed."""
        self._owner = None
