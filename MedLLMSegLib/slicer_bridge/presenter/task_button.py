"""The button that begins a task and cancels it, the bar of its progress, and why it has to wait."""

from __future__ import annotations

from dataclasses import dataclass

from .panel_state import BUSY, Panel
from .translation import _


def progress_bar(panel: Panel) -> dict:
    """Qt properties of the progress bar; an empty range is a bar that moves back and forth."""
    fraction = panel.fraction
    if fraction is None or (panel.state == "installing" and fraction == 0):
        return {"maximum": 0, "value": 0}
    return {"maximum": 100, "value": round(100 * fraction)}


def opacity_slider(shown: bool) -> dict:
    """Qt properties of the slider of a map's opacity. shown: the map is."""
    return {
        "visible": shown,
        "toolTip": _("How strongly the map's colours are laid over the scan."),
    }


def why_wait_for_other_task(panel: Panel, task: str) -> str:
    """Why a task has to wait for a run of another section, in one sentence; "" if none runs."""
    if panel.state not in BUSY or panel.task == task:
        return ""
    if panel.state == "installing":
        return _("Python packages are being installed; wait for it.")
    return {
        "segment": _("A scan is being segmented; wait for it, or cancel it."),
        "explain": _("A structure is being explained; wait for it, or cancel it."),
        "train": _("A model is being trained; wait for it, or cancel it in the section Train."),
        "diagnose": _(
            "An image is being diagnosed; wait for it, or cancel it in the section Diagnose."
        ),
    }[panel.task]


def wait_for_run(panel: Panel) -> str:
    return _("Wait until the run has ended.") if panel.state in BUSY else ""


@dataclass(frozen=True)
class ButtonFace:
    """Text and tooltip of a button that can be pressed."""

    text: str
    tooltip: str


def task_button(
    panel: Panel, task: str, missing: str, ready: ButtonFace, consent: dict[str, ButtonFace]
) -> dict:
    """The Qt properties of the button that begins a task, and that becomes Cancel.

    missing: why it cannot be pressed, "" if it can. ready: when it can.
    consent: for each state of `AWAITING_CONSENT`, in which pressing the button agrees.
    """
    if panel.task == task:
        busy = _busy_button(panel)
        if busy is not None:
            return busy
        if panel.state in consent and not missing:
            return _enabled(consent[panel.state])
    if missing:
        return {"text": ready.text, "enabled": False, "toolTip": missing}
    return _enabled(ready)


def _enabled(face: ButtonFace) -> dict:
    return {"text": face.text, "enabled": True, "toolTip": face.tooltip}


def _busy_button(panel: Panel) -> dict | None:
    """The button that began what runs now; None if nothing runs."""
    if panel.state == "running":
        if panel.task == "train":
            return _enabled(ButtonFace(_("Cancel"), _("Stop the training; no model is made.")))
        return _enabled(ButtonFace(_("Cancel"), _("Stop; the scene stays as it is.")))
    if panel.state == "cancelling":
        tooltip = _("It is being stopped, which takes 15 seconds at most.")
        return {"text": _("Cancelling..."), "enabled": False, "toolTip": tooltip}
    if panel.state == "installing" and panel.stoppable:
        return _enabled(ButtonFace(_("Cancel"), _("Stop the download; nothing is installed.")))
    if panel.state == "installing":
        tooltip = _("Python packages are being installed; this takes minutes.")
        return {"text": _("Installing..."), "enabled": False, "toolTip": tooltip}
    return None
