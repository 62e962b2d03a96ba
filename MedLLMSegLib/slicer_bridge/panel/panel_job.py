"""What the sections that run a job have in common: progress, cancel, a map over the views."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import qt

from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.slicer_bridge.logic.job_runner import THREAD_SLICE_S
from MedLLMSegLib.slicer_bridge.presenter.panel_state import BUSY, Panel, without_messages

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
        self._scene_left = False  # the scene was closed while it ran

    @property
    def model(self) -> ModelEntry | None:
        """The `ModelEntry` that it uses, or None."""
        raise NotImplementedError

    @property
    def models(self) -> tuple[ModelEntry | None, ...]:
        """All models that it uses, whose licences are asked for in turn."""
        return (self.model,)

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
        self._began, self._scene_left = time.monotonic(), False
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
            self._scene_left = True
            self.cancel()

    def onProgress(self, stage: str, fraction: float, secondsLeft: float | None) -> None:
        self.widget.change(stage=stage, fraction=fraction, seconds_left=secondsLeft)

    def onDone(self, job) -> None:
        raise NotImplementedError

    def end(self, panel: Panel) -> None:
        """Show the state after a job; without its message if that is about a scene that is gone."""
        self.widget.replace(without_messages(panel) if self._scene_left else panel)

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

    show: called with the node that owns a map, and an opacity from 0 to 1. widget: the
    module's, in whose log a failure is.
    """

    def __init__(self, show: Callable, widget):
        self._show, self._widget = show, widget
        self._map: Any = None
        self._opacity = 0.0

    def update(self, owner, new_map, opacity: float) -> None:
        """Show a node's map in place of the one before; None for no map.

        The map before may belong to nobody by now: Restore takes it from its segmentation.
        """
        before, opacity_before = self._map, self._opacity
        if new_map is before and opacity == opacity_before:
            return
        from MedLLMSegLib.slicer_bridge.scene.overlay import show_overlay

        self._map, self._opacity = new_map, opacity
        if new_map is before:
            if new_map is not None:
                show_overlay(new_map, True, opacity)
            return
        if before is not None and before.GetScene() is not None:
            show_overlay(before, False)
        if new_map is not None:
            try:
                self._show(owner, opacity)
            except Exception as error:  # the map was deleted
                self._widget.log.sentence(error)

    def forget(self) -> None:
        """Drop the map, as the scene is being closed."""
        self._map = None
