"""What the panel asks for before a task starts: to accept the model's licence, and to install
Python packages.
"""

from __future__ import annotations

from typing import Any

import qt

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.install import licence_consent
from MedLLMSegLib.slicer_bridge.install import packages as install
from MedLLMSegLib.slicer_bridge.presenter.panel_state import message_beside_result, message_fields
from MedLLMSegLib.slicer_bridge.presenter.translation import _

POLL_MS = 100
AFTER_PAINT_MS = 50  # long enough for the panel to be drawn before something makes it wait


class Consent:
    """Asks for consent in the panel, and installs packages.

    widget: the module's widget. installation: what runs in the background, or None.
    """

    def __init__(self, widget):
        self.widget, ui = widget, widget.ui
        self.installation: Any = None  # an `Installation`
        ui.notNowButton.connect("clicked(bool)", self.onNotNow)
        ui.trainNotNowButton.connect("clicked(bool)", self.onNotNow)
        ui.diagnoseNotNowButton.connect("clicked(bool)", self.onNotNow)

    def ask(self, section) -> None:
        """Begin at once if no consent is missing; otherwise show what is asked for.

        The next press of the button is the consent. The licences of the section's models come
        first, then Python packages. section: a `JobSection`.
        """
        panel, task = self.widget.panel, section.task
        asked = panel.state if panel.task == task else ""
        for model in section.models:
            if model is None or not licence_consent.must_ask(model):
                continue
            if asked != "needs_licence" or panel.licensed != model:
                self.widget.change(state="needs_licence", task=task, licensed=model)
                return
            if not self._accept(task, model):
                return
        missing = install.missing_packages(task)
        if not missing:
            section.begin()
        elif asked != "needs_packages":
            self.widget.change(state="needs_packages", task=task, packages=tuple(missing))
        else:
            self.widget.change(
                state="installing",
                stage="",
                fraction=0.0,
                stoppable=False,
                **message_fields(""),
                train_message="",
                diagnose_message="",
            )
            qt.QTimer.singleShot(AFTER_PAINT_MS, lambda: self._begin(section))

    def onNotNow(self) -> None:
        panel = self.widget.panel
        text = (
            _("Nothing was installed.")
            if panel.state == "needs_packages"
            else _("The licence was not accepted.")
        )
        self.widget.change(state="idle", **_message_fields(panel.task, text))

    def fail(self, task: str, error: Exception) -> None:
        """Show in a task's section why it did not begin."""
        text = self.widget.log.sentence(error, task)
        fields = _message_fields(task, text)
        if task == "segment":
            self.widget.change(state="failed", **fields)
        elif task == "explain":
            self.widget.change(state="idle", **{**fields, "message_failed": True})
        else:
            self.widget.change(state="idle", **fields, **{f"{task}_failed": True})

    def stop(self) -> None:
        """End the installation, unless its files are being put into place."""
        if self.installation is not None and not self.installation.placing:
            self.installation.stop()

    def close(self) -> None:
        """End the installation as the panel closes, unless files are being put into place."""
        if self.installation is not None:
            self.installation.poll()
            if not self.installation.placing:  # half a PyTorch would be worse
                self.installation.close()

    def _accept(self, task: str, model) -> bool:
        try:
            licence_consent.accept(model)
        except Exception as error:  # it cannot be written down
            self.fail(task, error)
            return False
        self.widget.log.say(
            _("The licence {licence} of {model} was accepted.").format(
                licence=model.licence, model=model.id
            )
        )
        return True

    def _begin(self, section) -> None:
        """Install PyTorch first, in the background if possible; then the rest, with Slicer's own
        progress window.
        """
        if self.widget.ui is None:  # the panel was reloaded before it was drawn
            return
        try:
            self.installation = install.begin_torch()
        except Exception as error:
            self.fail(section.task, error)
            return
        if self.installation is None:
            self._finish(section)
        else:
            self._check(section)

    def _check(self, section) -> None:
        running = self.installation
        if not running.poll():
            if self.widget.ui is not None:
                stoppable = not (running.placing or running.stopped)
                self.widget.change(
                    stage=running.text, fraction=running.fraction, stoppable=stoppable
                )
                qt.QTimer.singleShot(POLL_MS, lambda: self._check(section))
            return
        self.installation = None
        if self.widget.ui is None:  # PyTorch is installed; a new panel asks for the rest
            return
        worked = running.worked and not install.torch_is_missing()
        if not worked:
            self.widget.log.say(running.log)
        if running.stopped:
            text = _("The installation was stopped.")
            self.widget.change(state="idle", **_message_fields(section.task, text))
        elif worked:
            self._finish(section)
        else:
            text = _(
                "PyTorch could not be installed; check the network and the disk (the section Log"
                " has the details), or install it in the PyTorch Utils module, and press the button"
                " again."
            )
            self.fail(section.task, UserError(text))

    def _finish(self, section) -> None:
        try:
            install.ensure_packages(_("MedLLMSeg"), section.task)
        except Exception as error:
            self.fail(section.task, error)
            return
        self.widget.change(state="idle")
        if self.widget.parameters is not None:
            self.ask(section)  # again, as another model may have been chosen
        else:  # the module was left meanwhile
            text = _("The Python packages are installed; press the button again.")
            self.widget.change(**_message_fields(section.task, text))


def _message_fields(task: str, text: str) -> dict[str, Any]:
    """The fields of the panel's state that show a message in a task's section."""
    if task == "train":
        return {"train_message": text}
    if task == "diagnose":
        return {"diagnose_message": text, "diagnose_notes": ()}
    if task == "explain":
        return message_beside_result(text)
    return message_fields(text)
