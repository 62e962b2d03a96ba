"""The button that begins a task and cancels it, the bar of its progress, and why it has to wait."""

from __future__ import annotations

from .panel_state import BUSY, Panel
from .translation import _


def progress(panel: Panel) -> dict:
    """Qt properties of the progress bar of what goes on; Qt shows a range of nothing as a bar
    that moves to and fro.
    """
    known = panel.fraction is not None and (panel.state != "installing" or panel.fraction > 0)
    return {"maximum": 100 if known else 0, "value": round(100 * panel.fraction) if known else 0}


def why_wait_for_other_task(panel: Panel, task: str) -> str:
    """Why a task has to wait for what runs in another section, in one sentence; "" if nothing
    does.
    """
    if panel.state not in BUSY or panel.task == task:
        return ""
    if panel.state == "installing":
        return _("Python packages are being installed; wait for it.")
    return {
        "segment": _("A scan is being segmented; wait for it, or cancel it."),
        "train": _("A model is being trained; wait for it, or cancel it in the section Train."),
        "diagnose": _(
            "An image is being diagnosed; wait for it, or cancel it in the section Diagnose."
        ),
    }[panel.task]


def wait_for_run(panel: Panel) -> str:
    return _("Wait until the run has ended.") if panel.state in BUSY else ""


def task_button(
    panel: Panel, task: str, missing: str, ready: tuple[str, str], asks: dict[str, tuple[str, str]]
) -> dict:
    """The Qt properties of the button that begins a task, and that becomes Cancel.

    missing: what is not there yet, "" if nothing. ready: text and tooltip when it can be pressed.
    asks: those for each state of `AWAITING_CONSENT`, in which the press agrees.
    """
    if panel.task == task and (busy := busy_button(panel)):
        looks = busy
    elif panel.task == task and panel.state in asks and not missing:
        looks = (asks[panel.state][0], True, asks[panel.state][1])
    else:
        looks = (ready[0], not missing, missing or ready[1])
    return dict(zip(("text", "enabled", "toolTip"), looks))


def busy_button(panel: Panel) -> tuple[str, bool, str] | None:
    """Text, enabled and tooltip of the button that began what is going on; None when nothing is."""
    stoppable = panel.state == "installing" and panel.stoppable
    return {
        "running": (
            _("Cancel"),
            True,
            {"train": _("Stop the training; no model is made.")}.get(
                panel.task, _("Stop; the scene stays as it is.")
            ),
        ),
        "cancelling": (
            _("Cancelling..."),
            False,
            _("It is being stopped, which takes two seconds at most."),
        ),
        "installing": (
            (_("Cancel"), True, _("Stop the download; nothing is installed."))
            if stoppable
            else (
                _("Installing..."),
                False,
                _("Python packages are being installed; this takes minutes."),
            )
        ),
    }.get(panel.state)
