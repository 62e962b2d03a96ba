"""What the panel asks for before something starts: a model's licence, and Python packages, which
it installs. Qt side.
"""

from __future__ import annotations

import qt

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.install import licences
from MedLLMSegLib.slicer_bridge.install import packages as install
from MedLLMSegLib.slicer_bridge.presenter.translation import _

POLL_MS = 100
AFTER_PAINT_MS = 50  # long enough for the panel to be drawn before something makes it wait


class Consent:
    """widget: the module's widget. installation: the pip that runs beside the window, or None."""

    def __init__(self, widget):
        self.widget, self.installation, ui = widget, None, widget.ui
        ui.notNowButton.connect("clicked(bool)", self.onNotNow)
        ui.trainNotNowButton.connect("clicked(bool)", self.onNotNow)
        ui.diagnoseNotNowButton.connect("clicked(bool)", self.onNotNow)

    def ask(self, section) -> None:
        """Begin at once if nothing is to be asked; else say what, and wait for the next press,
        which is the consent.

        section: a `JobSection`. The model that it uses is asked for its licence first, and then for
        Python packages.
        """
        panel, task, model = self.widget.panel, section.task, section.model
        asked = panel.state if panel.task == task else ""
        if model is not None and licences.must_ask(model):
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
                message="",
                notes=(),
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
        self.widget.change(state="idle", **_told(panel.task, text))

    def fail(self, task: str, error: Exception) -> None:
        """Say in a task's section why it did not begin."""
        text = self.widget.log.sentence(error)
        failed = {"train": {"train_failed": True}, "diagnose": {"diagnose_failed": True}}.get(
            task, {}
        )
        self.widget.change(
            state="failed" if task == "segment" else "idle", **_told(task, text), **failed
        )

    def stop(self) -> None:
        """End the installation, unless its files are being put into their places."""
        if self.installation is not None and not self.installation.placing:
            self.installation.stop()

    def close(self) -> None:
        """The panel goes away: no process stays behind, but for one that is putting files into
        their places and ends soon.
        """
        if self.installation is not None:
            self.installation.poll()
            if not self.installation.placing:  # half a PyTorch would be worse
                self.installation.close()

    def _accept(self, task: str, model) -> bool:
        try:
            licences.accept(model)
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
        """PyTorch first, beside the window where that can be done; then the rest, with Slicer's
        own progress window.
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
            self._look(section)

    def _look(self, section) -> None:
        running = self.installation
        if not running.poll():
            if self.widget.ui is not None:
                stoppable = not (running.placing or running.stopped)
                self.widget.change(
                    stage=running.text, fraction=running.fraction, stoppable=stoppable
                )
                qt.QTimer.singleShot(POLL_MS, lambda: self._look(section))
            return
        self.installation = None
        if (
            self.widget.ui is None
        ):  # what was being put into its place is there; a new panel asks for the rest
            return
        worked = running.worked and not install.torch_is_missing()
        if not worked:
            self.widget.log.say(running.log)
        if running.stopped:
            self.widget.change(
                state="idle", **_told(section.task, _("The installation was stopped."))
            )
        elif worked:
            self._finish(section)
        else:
            self.fail(
                section.task,
                UserError(
                    _(
                        "PyTorch could not be installed; check the network and the disk (the"
                        " section Log has the details), or install it in the PyTorch Utils module,"
                        " and press the button again."
                    )
                ),
            )

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
            self.widget.change(
                **_told(
                    section.task, _("The Python packages are installed; press the button again.")
                )
            )


def _told(task: str, text: str) -> dict:
    """The fields of the state in which a task's section says something."""
    return {
        "segment": {"message": text, "notes": ()},
        "train": {"train_message": text},
        "diagnose": {"diagnose_message": text, "diagnose_notes": ()},
    }[task]
