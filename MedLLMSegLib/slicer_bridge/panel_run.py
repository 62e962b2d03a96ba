"""The panel's buttons that start something: Segment, Train (once its packages are there), and the sample scan. Qt side."""
from __future__ import annotations

import time

import qt
import slicer

from . import install, licences
from .jobs import LENT_S
from .panel_state import BUSY
from .presenter import with_job
from .sample import Download, load_sample
from .words import _

POLL_MS = 100
AFTER_PAINT_MS = 50  # long enough for the panel to be drawn before something makes it wait


class RunSection:
    """widget: the module's widget. job: the segmentation that runs, or None."""

    def __init__(self, widget):
        self.widget, self.job, self._began = widget, None, 0.0
        ui = widget.ui
        ui.segmentButton.connect("clicked(bool)", self.onSegmentButton)
        ui.trainButton.connect("clicked(bool)", self.onTrainButton)
        ui.notNowButton.connect("clicked(bool)", self.onNotNow)
        ui.trainNotNowButton.connect("clicked(bool)", self.onNotNow)

    def onSegmentButton(self) -> None:
        panel = self.widget.panel
        if panel.state in BUSY:
            self.cancel()
        elif panel.chosen is not None:
            self.with_consent("segment", panel.chosen, self.begin)

    def cancel(self) -> None:
        if self.job is not None:
            self.widget.logic.cancel(self.job)
            self.widget.change(state="cancelling")

    def onTrainButton(self) -> None:
        if self.widget.panel.state in BUSY:
            self.widget.training.cancel()
        else:
            self.with_consent("train", self.widget.training.start_entry, self.widget.training.begin)

    def onNotNow(self) -> None:
        panel = self.widget.panel
        text = _("Nothing was installed.") if panel.state == "needs_packages" else _("The licence was not accepted.")
        self.widget.change(state="idle", **_told(panel.task, text))

    def begin(self) -> None:
        """Segment the input volume."""
        widget, self._began = self.widget, time.monotonic()
        widget.change(state="running", task="segment", stage="start", fraction=0.0, seconds_left=None, message="", notes=())
        try:
            self.job = widget.logic.segmentAsync(widget.parameters.inputVolume, onProgress=self.onProgress,
                                                 onDone=self.onDone, **self.options())
        except Exception as error:
            widget.change(state="failed", message=widget.log.sentence(error))

    def options(self) -> dict:
        """What the panel's choices mean for the logic."""
        chosen = self.widget.parameters
        return {"segmentationNode": chosen.outputSegmentation, "model": chosen.model, "side": chosen.side.value,
                "device": chosen.device.value, "uncertainty": chosen.uncertainty, "augment": chosen.augment,
                "wholeSequence": chosen.wholeSequence}

    def onProgress(self, stage: str, fraction: float, secondsLeft: float | None) -> None:
        self.widget.change(stage=stage, fraction=fraction, seconds_left=secondsLeft)

    def onDone(self, job) -> None:
        self.job = None
        self.widget.replace(with_job(self.widget.panel, job, time.monotonic() - self._began))
        self.widget.log.job(job)
        if job.state == "done":
            self.widget.result.take(job)
        self.widget.update()

    def with_consent(self, task: str, model, start) -> None:
        """Start at once if nothing is to be asked; else say what, and wait for the next press, which is the consent.

        model: the `ModelEntry` that is used, or None. It is asked for its licence first, and then for Python packages.
        """
        panel = self.widget.panel
        asked = panel.state if panel.task == task else ""
        if model is not None and licences.must_ask(model):
            if asked != "needs_licence" or panel.licensed != model:
                self.widget.change(state="needs_licence", task=task, licensed=model)
                return
            if not self._accept(task, model):
                return
        missing = install.missing_packages(task)
        if not missing:
            start()
        elif asked != "needs_packages":
            self.widget.change(state="needs_packages", task=task, packages=tuple(missing))
        else:
            self.widget.change(state="installing", message="", notes=(), train_message="", diagnose_message="")
            qt.QTimer.singleShot(AFTER_PAINT_MS, lambda: self._install(task, start))

    def _accept(self, task: str, model) -> bool:
        try:
            licences.accept(model)
        except Exception as error:  # it cannot be written down
            self._fail(task, error)
            return False
        self.widget.log.say(_("The licence {licence} of {model} was accepted.").format(licence=model.licence, model=model.id))
        return True

    def _fail(self, task: str, error: Exception) -> None:
        text = self.widget.log.sentence(error)
        failed = {"train": {"train_failed": True}, "diagnose": {"diagnose_failed": True}}.get(task, {})
        self.widget.change(state="failed" if task == "segment" else "idle", **_told(task, text), **failed)

    def _install(self, task: str, start) -> None:
        try:
            install.ensure_packages(_("MedLLMSeg"), task)
        except Exception as error:
            self._fail(task, error)
            return
        self.widget.change(state="idle")
        if self.widget.parameters is not None:  # the module may have been left meanwhile
            start()


def _told(task: str, text: str) -> dict:
    """The fields of the state in which a task's section says something."""
    return {"segment": {"message": text, "notes": ()}, "train": {"train_message": text},
            "diagnose": {"diagnose_message": text, "diagnose_notes": ()}}[task]


class SampleButton:
    """Fetches MRHead in a thread, and loads it when it is there. widget: the module's widget."""

    def __init__(self, widget):
        self.widget, self._download = widget, None
        widget.ui.sampleButton.connect("clicked(bool)", self.onButton)

    def onButton(self) -> None:
        if self._download is None:
            self._download = Download(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
            self.widget.change(loading_sample=True, message="", notes=())
            qt.QTimer.singleShot(POLL_MS, self._look)

    def _look(self) -> None:
        if not self._download.wait(LENT_S):
            qt.QTimer.singleShot(POLL_MS, self._look)
            return
        error, self._download = self._download.error, None
        if error is None and self.widget.ui is not None:  # the module may have been unloaded meanwhile
            node = load_sample()
            if node is not None and self.widget.parameters is not None:
                self.widget.parameters.inputVolume = node
        elif error is not None:
            self.widget.log.say(str(error))
            self.widget.change(message=_("MRHead could not be downloaded; check the network, or load a scan of your own."))
        self.widget.change(loading_sample=False)
        if self.widget.ui is not None:
            self.widget.scans.update()
