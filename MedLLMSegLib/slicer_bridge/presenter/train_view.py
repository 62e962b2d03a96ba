"""What the panel's section Train shows, as a function of the panel's state (see panel_state.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from MedLLMSegLib.registry.catalogue import plain_id

from .error_details import copy_details_button
from .panel_state import AWAITING_CONSENT, BUSY, LEAST_PAIRS, Panel
from .panel_texts import consent_text, stage_name, stage_text, time_left, with_mark
from .task_button import ButtonFace, progress_bar, task_button, why_wait_for_other_task
from .translation import _


def with_training(panel: Panel, job) -> Panel:
    """The panel when a training has ended. job: the logic's `Job`."""
    default = {
        "cancelled": _("Cancelled; no model was made."),
        "failed": _("The training failed."),
        "done": _("The model is ready, and chosen above."),
    }
    kept = (
        _(
            "With the same pairs and settings, Train goes on from where it was last saved; until"
            ' then copies of the scans are kept in "{folder}" (Discard removes them).'
        ).format(folder=job.kept)
        if job.kept
        else ""
    )
    return replace(
        panel,
        state="idle",
        stage="",
        fraction=0.0,
        seconds_left=None,
        train_failed=job.state == "failed",
        train_message=" ".join(filter(None, (job.message or default[job.state], kept))),
    )


def history_text(history: Sequence[dict]) -> str:
    """The latest loss and Dice of a training's history."""
    losses = [row["loss"] for row in history if row.get("loss") is not None]
    scores = [row["val_dice"] for row in history if row.get("val_dice") is not None]
    figures = [_("loss {loss}").format(loss=f"{losses[-1]:.3f}")] if losses else []
    if scores:
        figures.append(
            _("validation Dice {now}, best {best}").format(
                now=f"{scores[-1]:.3f}", best=f"{max(scores):.3f}"
            )
        )
    return ", ".join(figures)


def why_no_training(panel: Panel) -> str:
    """What is missing before a training can begin, in one sentence; "" if nothing is."""
    if busy := why_wait_for_other_task(panel, "train"):
        return busy
    if len(panel.pairs) < LEAST_PAIRS:
        return _(
            "Add at least {count} pairs of a volume and its segmentation; ten or more give a useful"
            " model."
        ).format(count=LEAST_PAIRS)
    if not plain_id(panel.train_name):
        return _("Give the new model a name.")
    if any(m.entry.id == plain_id(panel.train_name) for m in panel.models):
        return _("There is a model of this name already; choose another name.")
    return ""


def start_rows(panel: Panel) -> tuple[tuple[str | None, str], ...]:
    """What a training can start from: models by their ids (titles are too long for a list), or new
    weights.
    """
    starts = [m.entry.id for m in panel.models if m.entry.fine_tunes]
    return (*((name, name) for name in starts), (None, _("Nothing (new weights)")))


def discard_question(names: Sequence[str]) -> str:
    """The question before trainings are removed."""
    return _(
        "Discard what was trained so far of {names}, and remove the copies of the scans?"
    ).format(names=", ".join(names))


def discarded_text(left: Sequence[str]) -> str:
    """The answer when trainings were removed. left: those that could not be."""
    return (
        _("Still in use, and not discarded: {names}.").format(names=", ".join(left))
        if left
        else _("Discarded.")
    )


def broken_off_text(names: Sequence[str]) -> str:
    """What is said of trainings that an earlier session did not finish, and how they go on."""
    return _(
        "Not finished, but saved: {names}. Go on continues {first} from there, with the scans and"
        " settings that it began with. Until then copies of the scans are kept (Discard removes"
        " them)."
    ).format(names=", ".join(names), first=names[0])


def train_widgets(panel: Panel) -> dict[str, dict]:
    """name in the .ui -> Qt properties."""
    active = panel.task == "train" and panel.state in BUSY
    shown, mark = _message(panel, active)
    text = with_mark(shown, mark)
    return {
        "trainButton": _train_button(panel),
        "trainNotNowButton": {
            "visible": panel.task == "train" and panel.state in AWAITING_CONSENT,
            "toolTip": _("Neither install nor accept anything."),
        },
        "trainProgressBar": {"visible": active, **progress_bar(panel)},
        "trainStatusLabel": {"text": text, "visible": bool(text)},
        "trainCopyDetailsButton": copy_details_button(panel, shown),
        **_pair_buttons(panel, active),
        "curveButton": _curve_button(panel),
        "goOnButton": _go_on_button(panel),
        "discardButton": _discard_button(panel),
        **{
            name: {"enabled": not active}
            for name in ("trainStartComboBox", "trainMinutesSpinBox", "trainNameEdit")
        },
    }


def _train_button(panel: Panel) -> dict:
    return task_button(
        panel,
        "train",
        why_no_training(panel),
        ButtonFace(_("Train"), _("Train a model on these pairs, on this computer.")),
        {
            "needs_packages": ButtonFace(
                _("Install and train"),
                _("Install these packages, and then train."),
            ),
            "needs_licence": ButtonFace(
                _("Accept and train"),
                _("Accept the licence of the model to start from, and then train."),
            ),
        },
    )


def _pair_buttons(panel: Panel, active: bool) -> dict[str, dict]:
    return {
        "addPairButton": {"enabled": panel.pair_chosen and not active, "toolTip": _pair_tip(panel)},
        "addAllPairsButton": {
            "enabled": not active,
            "toolTip": _(
                "Add every segmentation of the scene with the volume that it was drawn on."
            ),
        },
        "removePairButton": {
            "enabled": panel.pair_selected and not active,
            "toolTip": (
                _("Take the selected pair out of the list.")
                if panel.pair_selected
                else _("Select a pair in the list.")
            ),
        },
    }


def _curve_button(panel: Panel) -> dict:
    return {
        "enabled": bool(panel.history),
        "toolTip": (
            _("Show the learning curve in Slicer's plot view.")
            if panel.history
            else _("The learning curve appears when a training has begun.")
        ),
    }


def _go_on_button(panel: Panel) -> dict:
    asks = panel.state in AWAITING_CONSENT
    faces = {
        "needs_packages": ButtonFace(
            _("Install and go on"), _("Install these packages, and then go on.")
        ),
        "needs_licence": ButtonFace(
            _("Accept and go on"),
            _("Accept the licence of the model that it began with, and then go on."),
        ),
    }
    first = panel.broken_off[0] if panel.broken_off else ""
    ready = ButtonFace(
        _("Go on"),
        _("Train {model} on from where it was last saved; its scene is not needed.").format(
            model=first
        ),
    )
    face = faces[panel.state] if asks else ready
    ours = panel.task == "train" and bool(panel.going_on)
    return {
        "visible": bool(first) and panel.state not in BUSY and (ours or not asks),
        "text": face.text,
        "toolTip": face.tooltip,
    }


def _discard_button(panel: Panel) -> dict:
    return {
        "visible": bool(panel.unfinished) and panel.state not in (*BUSY, *AWAITING_CONSENT),
        "toolTip": _(
            "Remove the trainings that were not finished, and their copies of scans: {names}."
        ).format(names=", ".join(panel.unfinished)),
    }


def _pair_tip(panel: Panel) -> str:
    return (
        _("Add this volume and this segmentation to the list.")
        if panel.pair_chosen
        else _("Choose a volume and a segmentation that are not in the list yet.")
    )


def _message(panel: Panel, active: bool) -> tuple[str, str | None]:
    """The section's line of text, and its mark."""
    if panel.task == "train" and panel.state in AWAITING_CONSENT:
        return consent_text(panel), "ask"
    if active and panel.state == "installing":
        return stage_text(panel), None
    if active:
        step = stage_name(panel.stage.split(",")[0])  # without loss and Dice, which follow below
        texts = (step, time_left(panel.seconds_left), history_text(panel.history))
        return ", ".join(filter(None, texts)), None
    figures = history_text(panel.history)
    if not panel.train_message and panel.broken_off:
        return broken_off_text(panel.broken_off), "ask"
    text = panel.train_message
    if text and figures:
        text = f"{text.rstrip('.')} ({figures})."
    mark = "failed" if panel.train_failed else "done" if panel.history else None
    return text, mark
