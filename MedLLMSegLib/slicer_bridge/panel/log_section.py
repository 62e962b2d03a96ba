"""The panel's section Log, and the sentences for errors."""

from __future__ import annotations

import time
import traceback

import qt
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.slicer_bridge.presenter.translation import _

WORKER_LOG = "worker.log"  # as in `logic.services`, whose import would bring numpy


class LogSection:
    """The log. widget: the module's widget; once its `ui` is gone, nothing is logged."""

    def __init__(self, widget):
        self.widget, ui = widget, widget.ui
        ui.copyLogButton.connect("clicked(bool)", lambda: copy(ui.logText.plainText))
        ui.openLogButton.connect("clicked(bool)", self.onOpen)

    def say(self, text: str) -> None:
        if self.widget.ui is not None and text:
            self.widget.ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')} {text}")

    def job(self, job) -> None:
        """Log the messages of a job that has ended."""
        for text in (f"{job.kind}: {job.state}", job.message, *job.notes, job.details):
            self.say(text)

    def sentence(self, error: Exception) -> str:
        """A sentence for an error, which is also logged.

        Of an unexpected error the log gets the traceback.
        """
        if isinstance(error, UserError):
            self.say(str(error))
            return str(error)
        self.say("".join(traceback.format_exception(error)))
        return _("Something unexpected went wrong ({error}); see the section Log.").format(
            error=str(error) or type(error).__name__
        )

    def onOpen(self) -> None:
        path = cache_dir() / WORKER_LOG
        if path.is_file():
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))
        else:
            self.say(_("The worker has written no log yet."))


def copy(text: str) -> None:
    """Put a text on the clipboard."""
    slicer.app.clipboard().setText(text)
    slicer.util.showStatusMessage(_("Copied."), 2000)
