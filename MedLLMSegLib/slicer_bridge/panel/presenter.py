"""What the panel shows is a function of its state: `view(panel)`. Neither Qt nor MRML here.

The widget keeps a `Panel`, replaces fields of it as things happen, and copies `view(panel)` to its
widgets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from MedLLMSegLib.slicer_bridge.translation import _

from .panel_state import (
    ASKS,
    BUSY,
    Panel,
    breakable,
    busy_elsewhere,
    consent_text,
    facts,
    marked,
    memory_text,
    progress,
    stage_text,
    task_button,
)
from .presenter_diagnose import classifier_rows, diagnose_widgets, diagnosis_texts
from .presenter_train import start_rows, train_widgets


@dataclass(frozen=True)
class View:
    """widgets: name in the .ui -> Qt properties. The rest is what lists and tables hold.

    models: ids, titles and tool tips of the rows of the model list. chosen: the id of the row that
    is selected. starts: ids (None: none) and titles of what a training can start from. rows: texts
    of the result table. pairs: texts of the table of training pairs. classifiers: ids of the list
    in the section Diagnose; classifier: the one that is selected. diagnosis: texts of its table.
    fields: (name, what it may hold) of the record that this classifier reads. every: ids of the
    list in the section Models, of either kind; managed: the one that is selected.
    """

    widgets: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: tuple[tuple[str, str, str], ...] = ()
    chosen: str = ""
    starts: tuple[tuple[str | None, str], ...] = ()
    rows: tuple[tuple[str, str, str], ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    classifiers: tuple[str, ...] = ()
    classifier: str = ""
    diagnosis: tuple[tuple[str, str, str, str], ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    every: tuple[str, ...] = ()
    managed: str = ""


def view(panel: Panel) -> View:
    """The panel's looks in a state."""
    parts = (
        _input(panel),
        _model(panel),
        _segment_button(panel),
        _progress(panel),
        _status(panel),
        _result(panel),
        _copy(panel),
        _models(panel),
        train_widgets(panel),
        diagnose_widgets(panel),
    )
    widgets = {name: looks for part in parts for name, looks in part.items()}
    return View(
        widgets,
        _model_rows(panel),
        panel.model,
        start_rows(panel),
        tuple(row_texts(*row) for row in panel.rows),
        panel.pairs,
        classifier_rows(panel),
        panel.classifier,
        tuple(diagnosis_texts(*row) for row in panel.diagnosis),
        panel.asks.fields,
        tuple(m.entry.id for m in (*panel.models, *panel.classifiers)),
        getattr(panel.managed_entry, "id", ""),
    )


# the state as the user chooses, and as a job moves along


def with_model(panel: Panel, name: str) -> Panel:
    """The panel when another model is chosen: what was asked of the one before needs no answer
    any more.
    """
    asked = dict(state="idle", message="", train_message="") if panel.state in ASKS else {}
    return replace(panel, model=name, managed=name, models_message="", **asked)


def with_managed(panel: Panel, name: str) -> Panel:
    """The panel when a model is selected in the section Models."""
    return replace(panel, managed=name, models_message="")


def with_job(panel: Panel, job, seconds: float = 0.0) -> Panel:
    """The panel when a segmentation has ended, after so many seconds. job: the logic's `Job`."""
    ended = replace(panel, state="idle", stage="", fraction=0.0, seconds_left=None, notes=())
    if job.state == "cancelled":
        return replace(ended, message=job.message or _("Cancelled; the scene is as it was."))
    if job.state == "failed":
        return replace(
            ended, state="failed", message=job.message or _("It failed; the scene is as it was.")
        )
    rows, name = tuple(tuple(row) for row in job.rows), job.segmentationNode.GetName()
    message = job.message or _("{name}: {count} structures in {seconds} s.").format(
        name=name, count=len(rows), seconds=f"{seconds:.1f}"
    )
    return replace(ended, message=message, notes=tuple(job.notes), rows=rows)


# texts


def row_texts(name: str, volume_ml: float, confidence: float | None) -> tuple[str, str, str]:
    """A row of the result table: two digits are what a volume and a confidence are worth."""
    sure = "–" if confidence is None or math.isnan(confidence) else f"{confidence:.2f}"
    return name, f"{volume_ml:.2f}", sure


def table_text(rows: Sequence[tuple[str, float, float]]) -> str:
    """The result table for the clipboard: tabs between columns, as spreadsheets take it."""
    head = (_("Structure"), _("Volume (mL)"), _("Mean confidence"))
    return "".join("\t".join(row) + "\n" for row in (head, *(row_texts(*row) for row in rows)))


def matching(models: Sequence, search: str) -> list:
    """The models in whose title, id, modality, structures or licence every word of a search
    occurs.
    """
    words = search.lower().split()

    def text(entry) -> str:
        return " ".join(
            (entry.id, entry.title, entry.modality, *entry.structures, entry.licence)
        ).lower()

    return [m for m in models if all(word in text(m.entry) for word in words)]


def model_details(choice) -> str:
    """What is to be known of a model before it is used, as rich text."""
    entry = choice.entry
    size = _("{size} MB").format(size=f"{entry.size_mb:.0f}")
    lines = (
        (_("Modality"), entry.modality),
        (_("Structures"), ", ".join(entry.structures)),
        (_("Accuracy"), entry.accuracy),
        (_("Licence"), entry.licence),
        (_("Size"), size),
        (_("Memory"), memory_text(choice)),
    )
    return facts(lines)


# the sections


def _input(panel: Panel) -> dict:
    return {
        "sampleButton": {
            "visible": panel.scans == 0 or panel.loading_sample,
            "enabled": not panel.loading_sample,
            "text": (
                _("Loading MRHead...") if panel.loading_sample else _("Load sample head (MRHead)")
            ),
            "toolTip": _(
                "Download Slicer's sample MRI of a head (4 MB) and choose it as the input volume."
            ),
        },
    }


def _model(panel: Panel) -> dict:
    chosen = next((m for m in panel.models if m.entry.id == panel.model), None)
    if chosen:
        details = model_details(chosen)
    elif panel.models:
        details = _("Choose a model.")
    else:
        details = _("There is no model; import one in the section Models.")
    sided = panel.model in panel.sided
    return {
        "modelDetailsLabel": {"text": details},
        "sideComboBox": {
            "enabled": sided,
            "toolTip": (
                _("The side to be outlined. Of a crop around one organ: which one it shows.")
                if sided
                else _("The chosen model outlines no organ with a left and a right one.")
            ),
        },
        "modelList": {"toolTip": _("What is to be outlined, in which kind of scan.")},
    }


def _model_rows(panel: Panel) -> tuple[tuple[str, str, str], ...]:
    def title(choice) -> str:
        return (
            choice.entry.title
            if choice.fits_memory
            else _("{title} (too large)").format(title=choice.entry.title)
        )

    return tuple(
        (m.entry.id, title(m), f"{m.entry.id}: {m.memory_text}")
        for m in matching(panel.models, panel.search)
    )


def why_not(panel: Panel) -> str:
    """What is missing before the input can be segmented, in one sentence; "" if nothing is."""
    if busy := busy_elsewhere(panel, "segment"):
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
    return ""


def _segment_button(panel: Panel) -> dict:
    missing = why_not(panel)
    ready = (
        ""
        if missing
        else _("Outline {structures} in {scan}.").format(
            structures=", ".join(panel.chosen.structures), scan=panel.input
        )
    )
    button = task_button(
        panel,
        "segment",
        missing,
        (_("Segment"), ready),
        {
            "needs_packages": (
                _("Install and segment"),
                _("Install these packages into Slicer, and then segment."),
            ),
            "needs_licence": (
                _("Accept and segment"),
                _("Accept the model's licence, and then segment."),
            ),
        },
    )
    declined = {
        "visible": panel.state in ASKS and panel.task == "segment",
        "toolTip": _("Neither install nor accept anything."),
    }
    return {"segmentButton": button, "notNowButton": declined}


def _progress(panel: Panel) -> dict:
    return {
        "progressBar": {
            "visible": panel.state in BUSY and panel.task == "segment",
            **progress(panel),
        }
    }


def _status(panel: Panel) -> dict:
    text = marked(*_status_text(panel))
    return {"statusLabel": {"text": text, "visible": bool(text)}}


def _status_text(panel: Panel) -> tuple[str, str | None]:
    """What the panel says under its button, and its mark."""
    if panel.state in BUSY and panel.task == "segment":
        return stage_text(panel), None
    if panel.state in ASKS and panel.task == "segment":
        return consent_text(panel), "ask"
    if panel.state == "failed" and panel.task == "segment":
        return panel.message, "failed"
    text = " ".join(part for part in (panel.message, *panel.notes) if part)
    return text, "done" if panel.rows else None


def _wait(panel: Panel) -> str:
    return _("Wait until the run has ended.") if panel.state in BUSY else ""


def _result(panel: Panel) -> dict:
    wait = _wait(panel)
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
        "resultTable": {"visible": bool(panel.rows)},
        "copyTableButton": {
            "enabled": bool(panel.rows),
            "toolTip": (
                _("Copy the table to the clipboard, for a spreadsheet.")
                if panel.rows
                else _("There is no table.")
            ),
        },
        "restoreButton": {"enabled": panel.can_restore and not wait, "toolTip": wait or restore},
        "uncertaintyCheckBox": {"toolTip": overlay},
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


def _models(panel: Panel) -> dict:
    entry, wait = panel.managed_entry, _wait(panel)
    busy = _("Wait until this model has been read.") if panel.models_busy else ""
    none = busy or ("" if entry else _("Choose a model."))
    kept = none or (
        ""
        if entry.id in panel.own
        else _("{model} comes with MedLLMSeg and stays.").format(model=entry.id)
    )
    return {
        "managedComboBox": {
            "enabled": bool(panel.models or panel.classifiers),
            "toolTip": _("The model that these buttons are about."),
        },
        "modelsLabel": {
            "text": breakable(panel.models_message) or (_about(entry, panel.own) if entry else none)
        },
        **{
            name: {
                "enabled": not busy,
                "toolTip": (
                    busy or _("Copy a model bundle, {what}, into your models.").format(what=what)
                ),
            }
            for name, what in (
                ("importModelButton", _("a folder")),
                ("importZipButton", _("a .zip file")),
            )
        },
        "verifyModelButton": {
            "enabled": not none,
            "toolTip": none or _("Compare the model's weights with its sha256."),
        },
        "deleteModelButton": {
            "enabled": not (kept or wait),
            "toolTip": kept or wait or _("Delete this model from disk."),
        },
        "openFolderButton": {
            "enabled": not none,
            "toolTip": none or _("Open the folder that holds the model."),
        },
        "licenceButton": {
            "enabled": not none,
            "toolTip": none or _("Read the licence of the model's weights."),
        },
    }


def _about(entry, own: frozenset[str]) -> str:
    """What a model does, how large it is and whose."""
    does = _("diagnoses") if entry.kind == "classifier" else _("outlines")
    whose = _("one of yours") if entry.id in own else _("comes with MedLLMSeg")
    return _("{title}: {does}, {size} MB, {whose}.").format(
        title=breakable(entry.title), does=does, size=f"{entry.size_mb:.0f}", whose=whose
    )
