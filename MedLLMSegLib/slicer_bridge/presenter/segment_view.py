"""What the panel shows around its button Segment: input, progress, messages and result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from .error_details import copy_details_button
from .explain_view import explain_widgets
from .further_images_view import further_images_widgets, why_not_these_images
from .heart_view import heart_text
from .panel_state import AWAITING_CONSENT, BUSY, Panel, message_fields
from .panel_texts import consent_text, stage_text, with_mark
from .person_view import person_widgets, why_no_person
from .quality_view import quality_line
from .task_button import (
    ButtonFace,
    opacity_slider,
    progress_bar,
    task_button,
    wait_for_run,
    why_wait_for_other_task,
)
from .translation import _, isolated
from .volumetry_view import intracranial_text, volumetry_groups, volumetry_text

RUN_HERE = ("segment", "explain")  # tasks whose progress is below the button Segment


def with_job(panel: Panel, job, seconds: float = 0.0) -> Panel:
    """The panel when a segmentation has ended.

    job: the logic's `Job`. seconds: how long it took.
    """
    ended = replace(
        panel, state="idle", stage="", fraction=0.0, seconds_left=None, **message_fields("")
    )
    if job.state == "cancelled":
        return replace(ended, message=job.message or _cancelled_text(job))
    if job.state == "failed":
        return replace(
            ended, state="failed", message=job.message or _("It failed; the scene is as it was.")
        )
    rows, name = tuple(tuple(row) for row in job.rows), isolated(job.segmentationNode.GetName())
    text = (
        _("{name}: 1 structure in {seconds} s.")
        if len(rows) == 1
        else _("{name}: {count} structures in {seconds} s.")
    )
    message = job.message or text.format(name=name, count=len(rows), seconds=f"{seconds:.1f}")
    notes = (*filter(None, [_heart(job)]), *job.notes, *filter(None, [_intracranial(job)]))
    if job.planned:
        shown = _("Shown is {name}.").format(name=name)
        message = _batch_text(job, seconds)
        notes = (*_failures(job), *_batch_table(job), shown, *notes)
    found = {"rows": rows, "volumetry": job.volumetry, "quality": job.quality}
    found["inserted"] = job.inserted
    sentences = () if job.planned else job.sentences  # they are about one scan
    return replace(ended, message=message, notes=notes, sentences=sentences, **found)


def _cancelled_text(job) -> str:
    done = sum(not scan.message for scan in job.scans)
    if not done:
        return _("Cancelled; the scene is as it was.")
    return _("Cancelled; {done} of {count} scans had been segmented, and stay so.").format(
        done=done, count=job.planned
    )


def _batch_text(job, seconds: float) -> str:
    done = sum(not scan.message for scan in job.scans)
    return _("{done} of {count} scans were segmented in {seconds} s.").format(
        done=done, count=job.planned, seconds=f"{seconds:.1f}"
    )


def _batch_table(job) -> tuple[str, ...]:
    """Where the volumes of all scans are."""
    node = job.batchNode
    if node is None or node.GetScene() is None:
        return ()
    text = _("All scans' volumes are in the table {name}.")
    return (text.format(name=isolated(node.GetName())),)


def _failures(job) -> tuple[str, ...]:
    return tuple(
        _("{scan} failed: {reason}").format(scan=isolated(scan.name), reason=scan.message)
        for scan in job.scans
        if scan.message
    )


def _intracranial(job) -> str:
    return intracranial_text(job.volumetry) if job.volumetry is not None else ""


def _heart(job) -> str:
    return heart_text(job.heart, job.heartNode.GetName()) if job.heart is not None else ""


class ResultTexts(NamedTuple):
    """The cells of one row of the result table, from left to right."""

    structure: str
    volume_ml: str
    confidence: str


def row_texts(name: str, volume_ml: float, confidence: float | None) -> ResultTexts:
    """A row of the result table, with the two digits that volume and confidence deserve."""
    certainty = "–" if confidence is None or math.isnan(confidence) else f"{confidence:.2f}"
    return ResultTexts(name, f"{volume_ml:.2f}", certainty)


def table_text(rows: Sequence[tuple[str, float, float]]) -> str:
    """The result table for the clipboard: tabs between columns, as spreadsheets take it."""
    head = (_("Structure"), _("Volume (mL)"), _("Mean confidence"))
    return "".join("\t".join(row) + "\n" for row in (head, *(row_texts(*row) for row in rows)))


def copied_table(panel: Panel) -> str:
    """The result table as it is copied; of many structures with all their columns."""
    if panel.volumetry is None:
        return table_text(panel.rows)
    return volumetry_text(volumetry_groups(panel.volumetry, panel.rows))


def why_no_segmentation(panel: Panel) -> str:
    """What is missing before the input can be segmented, in one sentence; "" if nothing is."""
    if busy := why_wait_for_other_task(panel, "segment"):
        return busy
    if panel.chosen is None:
        return (
            _("Choose a model.")
            if panel.models
            else _("There is no model; import one in the section Models.")
        )
    if panel.input is None and panel.scans == 0:
        return _("Load a scan, or the sample head, and choose it as the input volume.")
    if panel.input is None:
        return _("Choose a scan as the input volume.")
    return why_not_these_images(panel) or why_no_person(panel)


def _input(panel: Panel) -> dict:
    return {
        "sampleButton": {
            "visible": (panel.scans == 0 and panel.input is None) or panel.loading_sample,
            "enabled": not panel.loading_sample,
            "text": (
                _("Loading MRHead...") if panel.loading_sample else _("Load sample head (MRHead)")
            ),
            "toolTip": _(
                "Download Slicer's sample MRI of a head (4 MB) and choose it as the input volume."
            ),
        },
    }


def _segment_button(panel: Panel) -> dict:
    missing = why_no_segmentation(panel)
    ready = "" if missing else _what_it_does(panel)
    text = _("Segment {count} scans").format(count=panel.scans) if panel.is_batch else _("Segment")
    button = task_button(
        panel,
        "segment",
        missing,
        ButtonFace(text, ready),
        {
            "needs_packages": ButtonFace(
                _("Install and segment"),
                _("Install these packages into Slicer, and then segment."),
            ),
            "needs_licence": ButtonFace(
                _("Accept and segment"),
                _("Accept the model's licence, and then segment."),
            ),
        },
    )
    declined = {
        "visible": panel.state in AWAITING_CONSENT and panel.task == "segment",
        "toolTip": _("Neither install nor accept anything."),
    }
    return {"segmentButton": button, "notNowButton": declined}


def _what_it_does(panel: Panel) -> str:
    text = (
        _("Outline {structures} in {scan}, inside {region}.")
        if panel.region is not None
        else _("Outline {structures} in {scan}.")
    )
    scan = _("every scan of the scene") if panel.is_batch else isolated(panel.input or "")
    return text.format(
        structures=", ".join(panel.chosen.structures),
        scan=scan,
        region=isolated(panel.region or ""),
    )


def _progress(panel: Panel) -> dict:
    return {
        "progressBar": {
            "visible": panel.state in BUSY and panel.task in RUN_HERE,
            **progress_bar(panel),
        }
    }


def _status(panel: Panel) -> dict:
    shown, mark = _status_text(panel)
    text = with_mark(shown, mark)
    if panel.quality is not None and mark == "done":
        text += f"<br>{quality_line(panel.quality)}"
    return {
        "statusLabel": {"text": text, "visible": bool(text)},
        "copyDetailsButton": copy_details_button(panel, shown),
    }


def _status_text(panel: Panel) -> tuple[str, str | None]:
    """The text under the button, and its mark."""
    if panel.state in BUSY and panel.task in RUN_HERE:
        return stage_text(panel), None
    if panel.state in AWAITING_CONSENT and panel.task == "segment":
        return consent_text(panel), "ask"
    if panel.state == "failed" and panel.task == "segment":
        return panel.message, "failed"
    text = " ".join(filter(None, (panel.message, *panel.notes)))
    if panel.message_failed:
        return text, "failed"
    return text, "done" if panel.rows else None


def _result(panel: Panel) -> dict:
    wait = wait_for_run(panel)
    overlay = (
        _("Show how unsure the model is, over the scan.")
        if panel.mapped or not panel.rows
        else _("Press Segment once more to map how unsure the model is.")
    )
    restore = (
        _("Bring back what the last run overwrote.")
        if panel.can_restore
        else _("There is nothing to bring back: the last run overwrote no segmentation.")
    )
    return {
        "resultWidget": {"visible": panel.result is not None},
        "resultTable": {"visible": bool(panel.rows) and panel.volumetry is None},
        "resultTree": {"visible": bool(panel.rows) and panel.volumetry is not None},
        "copyTableButton": {
            "enabled": bool(panel.rows),
            "toolTip": (
                _("Copy the table to the clipboard, for a spreadsheet.")
                if panel.rows
                else _("There is no table.")
            ),
        },
        "copyTextButton": {
            "enabled": bool(panel.sentences),
            "toolTip": (
                _("Copy what was measured, in plain sentences.")
                if panel.sentences
                else _("There are no sentences: they are about one scan that was just segmented.")
            ),
        },
        "restoreButton": {"enabled": panel.can_restore and not wait, "toolTip": wait or restore},
        "smoothingSpinBox": {"value": panel.smoothing},
        "editButton": {
            "toolTip": _("Open {segmentation} in the Segment Editor, over its scan.").format(
                segmentation=isolated(panel.result or "")
            )
        },
        "uncertaintyCheckBox": {"toolTip": overlay},
        "uncertaintySlider": opacity_slider(
            (panel.uncertainty and panel.mapped) or (panel.evidence and panel.evidenced)
        ),
    }


def _copy(panel: Panel) -> dict:
    missing = (
        _("Choose an input volume and a model.")
        if panel.input is None or panel.chosen is None
        else ""
    )
    return {
        "copyPythonButton": {
            "enabled": not missing,
            "toolTip": missing or _("Copy lines that do the same in Slicer's Python console."),
        },
        "copyCommandButton": {
            "enabled": not missing,
            "toolTip": missing or _("Copy a command that does the same in a terminal."),
        },
    }


def segment_widgets(panel: Panel) -> dict[str, dict]:
    """name in the .ui -> Qt properties."""
    return {
        **_input(panel),
        **further_images_widgets(panel),
        **person_widgets(panel),
        **_segment_button(panel),
        **_progress(panel),
        **_status(panel),
        **_result(panel),
        **explain_widgets(panel),
        **_copy(panel),
    }
