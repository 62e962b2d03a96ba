"""What the sections that run a job have in common: progress, cancel, a map over the views."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import qt

from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.slicer_bridge.logic.job_runner import THREAD_SLICE_S
from MedLLMSegLib.slicer_bridge.presenter.panel_state import BUSY

POLL_MS = 100


class JobSection:
    """A section that runs one job at a time.

    task: its name in the panel's state. widget: the module's widget. job: the one that runs, or
    None.
    """

    task = ""
    needs_model = True

    def __init__(self, widget):
        self.widget = widget
        self.job: Any = None
        self._began = 0.0

    @property
    def model(self) -> ModelEntry | None:
        """The `ModelEntry` that it uses, or None."""
        raise NotImplementedError

    def onButton(self) -> None:
        state = self.widget.panel.state
        if state == "installing":
            self.widget.consent.stop()
        elif state in BUSY:
            self.cancel()
        elif self.model is not None or not self.needs_model:
            self.widget.consent.ask(self)

    def begin(self) -> None:
        """Start, after the user has given all consent."""
        raise NotImplementedError

    def run(self, begin: Callable, **fields) -> None:
        """Begin a job.

        begin: called with onProgress and onDone, returns the job. fields: of the panel's state,
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
        """Stop the job; the panel says so until it has ended."""
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
    """Reads or writes files in a thread while the window stays responsive.

    done: gets the future afterwards, on the main thread.
    """

    def __init__(self, work: Callable, done: Callable[[Future], None]):
        threads = ThreadPoolExecutor(1, thread_name_prefix="MedLLMSeg files")
        self._future, self._done = threads.submit(work), done
        threads.shutdown(wait=False)
        self._check()

    def _check(self) -> None:
        if wait([self._future], THREAD_SLICE_S).done:
            self._done(self._future)
        else:
            # a lambda, as PythonQt does not keep the object of a bound method alive
            qt.QTimer.singleShot(POLL_MS, lambda: self._check())  # noqa: PLW0108 (see above)


class MapOverlay:
    """The map that a section shows over the slice views, one at a time.

    set_shown: called with the node that owns a map, and whether to show it. log: the panel's.
    """

    def __init__(self, set_shown: Callable, log):
        self._set_shown, self._log = set_shown, log
        self._owner: Any = None

    def update(self, new_owner) -> None:
        """Show the map of a node in place of the one before; None for no map."""
        if new_owner is self._owner:
            return
        before, self._owner = self._owner, new_owner
        for owner, show in ((before, False), (new_owner, True)):
            if owner is not None and owner.GetScene() is not None:
                try:
                    self._set_shown(owner, show)
                except Exception as error:  # the map was deleted
                    self._log.sentence(error)

    def forget(self) -> None:
        """Drop the node, as the scene is being closed."""
        self._owner = None
