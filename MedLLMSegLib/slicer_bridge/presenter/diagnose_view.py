"""What the panel's section Diagnose shows, as a function of the panel's state (see
panel_state.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from .error_details import copy_details_button
from .extra_inputs import NO_EXTRA_INPUTS, ExtraInputs
from .panel_state import AWAITING_CONSENT, BUSY, Panel
from .panel_texts import consent_text, facts_table, memory_text, stage_text, with_mark
from .task_button import (
    ButtonFace,
    opacity_slider,
    progress_bar,
    task_button,
    why_wait_for_other_task,
)
from .translation import _

RESEARCH_ONLY = _(
    "Research use only; not a medical device. What is shown here is no medical diagnosis."
)
NO_CLASSIFIER = _(
    "There is no model that diagnoses yet. Import one in the section Models, or train one on your"
    " own images with medllmseg train --task classify."
)


def with_classifier(panel: Panel, name: str, extra_inputs: ExtraInputs = NO_EXTRA_INPUTS) -> Panel:
    """The panel when a classifier is chosen, with what it takes besides the image.

    Choosing another one withdraws a question that was asked for the one before.
    """
    is_other = name != panel.classifier
    if is_other and panel.task == "diagnose" and panel.state in AWAITING_CONSENT:
        panel = replace(panel, state="idle", diagnose_message="")
    if is_other and panel.classifier:
        panel = replace(panel, managed=name)
    return replace(panel, classifier=name, extra_inputs=extra_inputs)


def with_diagnosis(panel: Panel, job, seconds: float = 0.0) -> Panel:
    """The panel when a diagnosis has ended.

    job: the logic's `Job`. seconds: how long it took.
    """
    ended = replace(
        panel,
        state="idle",
        stage="",
        fraction=0.0,
        seconds_left=None,
        diagnose_notes=(),
        diagnose_failed=False,
    )
    if job.state == "cancelled":
        return replace(
            ended, diagnose_message=job.message or _("Cancelled; the scene is as it was.")
        )
    if job.state == "failed":
        return replace(
            ended,
            diagnose_message=job.message or _("It failed; the scene is as it was."),
            diagnose_failed=True,
        )
    rows = tuple(tuple(row) for row in job.rows)
    answer, probability = next((name, p) for name, p, _threshold, positive in rows if positive)
    message = _("{image}: {answer}, with a probability of {probability}, in {seconds} s.").format(
        image=panel.diagnosed or panel.image,
        answer=answer,
        probability=f"{probability:.2f}",
        seconds=f"{seconds:.1f}",
    )
    return replace(ended, diagnose_message=message, diagnose_notes=tuple(job.notes), diagnosis=rows)


class DiagnosisTexts(NamedTuple):
    """The cells of one row of the section's table, from left to right."""

    name: str
    probability: str
    threshold: str
    mark: str


def diagnosis_texts(
    name: str, probability: float, threshold: float | None, positive: bool
) -> DiagnosisTexts:
    """A row of the section's table."""
    return DiagnosisTexts(
        name,
        f"{probability:.2f}",
        "–" if threshold is None else f"{threshold:.2f}",
        "●" if positive else "",
    )


def classifier_rows(panel: Panel) -> tuple[str, ...]:
    """The list of classifiers: ids, as titles are too long for it."""
    return tuple(m.entry.id for m in panel.classifiers)


def classifier_details(choice) -> str:
    """What a user should know of a classifier before using it, as rich text."""
    entry = choice.entry
    return facts_table(
        (
            (_("Model"), entry.title),
            (_("Modality"), entry.modality),
            (_("Classes"), ", ".join(entry.classes)),
            (_("Accuracy"), entry.accuracy),
            (_("Licence"), entry.licence),
            (_("Memory"), memory_text(choice)),
        )
    )


def why_no_diagnosis(panel: Panel) -> str:
    """What is missing before an image can be diagnosed, in one sentence; "" if nothing is."""
    if busy := why_wait_for_other_task(panel, "diagnose"):
        return busy
    if not panel.classifiers:
        return _("There is no model that diagnoses; import or train one.")
    if panel.chosen_classifier is None:
        return _("Choose a model.")
    return "" if panel.image is not None else _("Choose an image; if there is none, load it.")


def diagnose_widgets(panel: Panel) -> dict[str, dict]:
    """name in the .ui -> Qt properties."""
    is_own_task = panel.task == "diagnose"
    active = is_own_task and panel.state in BUSY
    shown, mark = _message(panel, is_own_task)
    text = with_mark(shown, mark)
    chosen = next((m for m in panel.classifiers if m.entry.id == panel.classifier), None)
    return {
        "diagnoseButton": _button(panel),
        "diagnoseNotNowButton": {
            "visible": is_own_task and panel.state in AWAITING_CONSENT,
            "toolTip": _("Neither install nor accept anything."),
        },
        "diagnoseProgressBar": {"visible": active, **progress_bar(panel)},
        "diagnoseStatusLabel": {"text": text, "visible": bool(text)},
        "diagnoseCopyDetailsButton": copy_details_button(panel, shown),
        "classifierComboBox": {"visible": bool(panel.classifiers), "enabled": not active},
        "classifierNameLabel": {"visible": bool(panel.classifiers)},
        "classifierLabel": {"text": classifier_details(chosen) if chosen else NO_CLASSIFIER},
        "lungMaskLabel": {"visible": panel.extra_inputs.lungs},
        "lungMaskSelector": {"visible": panel.extra_inputs.lungs, "enabled": not active},
        "recordTable": {"visible": bool(panel.extra_inputs.fields), "enabled": not active},
        "diagnosisTable": {"visible": bool(panel.diagnosis)},
        "heatMapCheckBox": {
            "visible": bool(panel.diagnosis),
            "enabled": panel.heated,
            "toolTip": (
                _(
                    "Lay over the image what in it speaks for the answer; it shows where the"
                    " network looked, not where a disease is."
                )
                if panel.heated
                else _("There is no heat map.")
            ),
        },
        "heatSlider": opacity_slider(bool(panel.diagnosis) and panel.heat and panel.heated),
        "researchLabel": {"text": RESEARCH_ONLY},
    }


def _button(panel: Panel) -> dict:
    missing = why_no_diagnosis(panel)
    ready = (
        ""
        if missing
        else _("Tell {classes} apart in {image}.").format(
            classes=", ".join(panel.chosen_classifier.classes), image=panel.image
        )
    )
    return task_button(
        panel,
        "diagnose",
        missing,
        ButtonFace(_("Diagnose"), ready),
        {
            "needs_packages": ButtonFace(
                _("Install and diagnose"),
                _("Install these packages into Slicer, and then diagnose."),
            ),
            "needs_licence": ButtonFace(
                _("Accept and diagnose"),
                _("Accept the model's licence, and then diagnose."),
            ),
        },
    )


def _message(panel: Panel, is_own_task: bool) -> tuple[str, str | None]:
    """The section's line of text, and its mark."""
    if is_own_task and panel.state in BUSY:
        return stage_text(panel), None
    if is_own_task and panel.state in AWAITING_CONSENT:
        return consent_text(panel), "ask"
    text = " ".join(filter(None, (panel.diagnose_message, *panel.diagnose_notes)))
    return text, "failed" if panel.diagnose_failed else None
