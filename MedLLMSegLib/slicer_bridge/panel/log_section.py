"""The panel's section Log, and the sentences for errors."""

from __future__ import annotations

import time
import traceback

import qt
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.slicer_bridge.presenter.error_details import details_text, failure_of
from MedLLMSegLib.slicer_bridge.presenter.translation import _

WORKER_LOG = "worker.log"  # as in `logic.services`, whose import would bring numpy


class LogSection:
    """The log. widget: the module's widget; once its `ui` is gone, nothing is logged."""

    def __init__(self, widget):
        self.widget, ui = widget, widget.ui
        ui.copyLogButton.connect("clicked(bool)", lambda: copy(ui.logText.plainText))
        ui.openLogButton.connect("clicked(bool)", self.onOpen)
        ui.copyDetailsButton.connect("clicked(bool)", self.onCopyDetails)
        ui.trainCopyDetailsButton.connect("clicked(bool)", self.onCopyDetails)
        ui.diagnoseCopyDetailsButton.connect("clicked(bool)", self.onCopyDetails)
        ui.modelsCopyDetailsButton.connect("clicked(bool)", self.onCopyDetails)

    def say(self, text: str) -> None:
        if self.widget.ui is not None and text:
            self.widget.ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')} {text}")

    def job(self, job) -> None:
        """Log the messages of a job that has ended."""
        for text in (f"{job.kind}: {job.state}", job.message, *job.notes, job.details):
            self.say(text)
        if job.state == "failed":
            self._keep(job.message, job.details, job.kind)
        for scan in job.scans:
            if scan.message:
                self.say(f"{scan.name}: {scan.message}\n{scan.details}".rstrip())
                self._keep(scan.message, scan.details, job.kind)

    def sentence(self, error: Exception, task: str = "segment") -> str:
        """A sentence for an error, which is also logged, and kept for **Copy details**.

        Of an unexpected error the log gets the traceback. task: what was tried.
        """
        details = "".join(traceback.format_exception(error))
        if isinstance(error, UserError):
            sentence = str(error)
            self.say(sentence)
        else:
            self.say(details)
            sentence = _("Something unexpected went wrong ({error}); see the section Log.").format(
                error=str(error) or type(error).__name__
            )
        self._keep(sentence, details, task)
        return sentence

    def _keep(self, sentence: str, details: str, task: str) -> None:
        """Keep an error for **Copy details**, cleaned now: a node may be gone when it is copied."""
        from MedLLMSegLib.slicer_bridge.scene.private_texts import private_texts

        failure = failure_of(sentence, details, task, private_texts(slicer.mrmlScene))
        self.widget.change(failure=failure)

    def onCopyDetails(self) -> None:
        parameters = self.widget.parameters
        device = parameters.device.label() if parameters is not None else ""
        copy(details_text(self.widget.panel, _slicer_version(), device))

    def onOpen(self) -> None:
        path = cache_dir() / WORKER_LOG
        if path.is_file():
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))
        else:
            self.say(_("The worker has written no log yet."))


def _slicer_version() -> str:
    application = slicer.app
    found = (getattr(application, name, "") for name in ("applicationVersion", "revision"))
    return ", revision ".join(filter(None, found)) or "not known"


def copy(text: str) -> None:
    """Put a text on the clipboard."""
    slicer.app.clipboard().setText(text)
    slicer.util.showStatusMessage(_("Copied."), 2000)
