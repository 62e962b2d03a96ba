"""What the panel's model list and its section Models show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .error_details import copy_details_button
from .panel_state import AWAITING_CONSENT, Panel
from .panel_texts import breakable, facts_table, memory_text, with_mark
from .task_button import wait_for_run
from .translation import _


def with_model(panel: Panel, name: str) -> Panel:
    """The panel when another model is chosen, which withdraws a question about the one before."""
    if panel.state in AWAITING_CONSENT:
        panel = replace(panel, state="idle", message="", train_message="")
    return replace(panel, model=name, managed=name, models_message="")


def with_managed(panel: Panel, name: str) -> Panel:
    """The panel when a model is selected in the section Models."""
    return replace(panel, managed=name, models_message="")


def matching(models: Sequence, search: str) -> list:
    """The models in whose title, id, modality, structures or licence every word of a search
    occurs.
    """
    words = search.lower().split()
    return [m for m in models if all(word in _searched_text(m.entry) for word in words)]


def _searched_text(entry) -> str:
    fields = (entry.id, entry.title, entry.modality, *entry.structures, entry.licence)
    return " ".join(fields).lower()


def model_details(choice) -> str:
    """What a user should know of a model before using it, as rich text."""
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
    return facts_table(lines)


def _chosen_model(panel: Panel) -> dict:
    chosen = next((m for m in panel.models if m.entry.id == panel.model), None)
    title = _("About {model}").format(model=chosen.entry.id) if chosen else _("About the model")
    if chosen:
        details = model_details(chosen)
    elif panel.models:
        details = _("Choose a model.")
    else:
        details = _("There is no model; import one in the section Models.")
    sided = panel.model in panel.sided
    return {
        "factsCollapsibleButton": {"text": title},
        "modelDetailsLabel": {"text": details},
        "sideComboBox": {
            "enabled": sided,
            "toolTip": (
                _("The side to be outlined. Of a crop around one organ: which one it shows.")
                if sided
                else _("The chosen model outlines no organ with a left and a right one.")
            ),
        },
        "partsCheckBox": _parts(panel.parts_model),
        "modelList": {"toolTip": _("What is to be outlined, in which kind of scan.")},
    }


def _parts(parts) -> dict:
    """parts: the `ModelEntry` that divides structures of the chosen model, or None."""
    tip = _("Draw each hippocampus as an anterior and a posterior part, by {model} ({modality}).")
    return {
        "visible": parts is not None,
        "toolTip": tip.format(model=parts.id, modality=parts.modality) if parts else "",
    }


def _suggestion(panel: Panel) -> dict:
    """Which model suits the scan. The button is there where another one is chosen."""
    found = panel.suggestion
    is_chosen = found.model == panel.model
    return {
        "suggestionLabel": {
            "text": with_mark(found.sentence, None if is_chosen else "ask"),
            "visible": bool(found.sentence),
        },
        "suggestionButton": {
            "visible": bool(found.model) and not is_chosen,
            "toolTip": _("Choose the model that suits this scan: {model}.").format(
                model=found.model
            ),
        },
    }


def model_rows(panel: Panel) -> tuple[tuple[str, str, str], ...]:
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


def _models_section(panel: Panel) -> dict:
    entry = panel.managed_entry
    busy = _("Wait until this model has been read.") if panel.models_busy else ""
    unusable = busy or ("" if entry else _("Choose a model."))
    undeletable = unusable or _why_not_deleted(panel, entry)
    return {
        "managedComboBox": {
            "enabled": bool(panel.models or panel.classifiers),
            "toolTip": _("The model that these buttons are about."),
        },
        "modelsLabel": {
            "text": breakable(panel.models_message)
            or (_about(entry, panel.own) if entry else unusable)
        },
        "modelsCopyDetailsButton": copy_details_button(panel, panel.models_message),
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
            "enabled": not unusable,
            "toolTip": unusable or _("Compare the model's weights with its sha256."),
        },
        "deleteModelButton": {
            "enabled": not undeletable,
            "toolTip": undeletable or _("Delete this model from disk."),
        },
        "openFolderButton": {
            "enabled": not unusable,
            "toolTip": unusable or _("Open the folder that holds the model."),
        },
        "licenceButton": {
            "enabled": not unusable,
            "toolTip": unusable or _("Read the licence of the model's weights."),
        },
    }


def _why_not_deleted(panel: Panel, entry) -> str:
    if entry.id not in panel.own:
        return _("{model} comes with MedLLMSeg and stays.").format(model=entry.id)
    return wait_for_run(panel)


def _about(entry, own: frozenset[str]) -> str:
    """What a model does, its size, and where it comes from."""
    does = _("diagnoses") if entry.kind == "classifier" else _("outlines")
    whose = _("one of yours") if entry.id in own else _("comes with MedLLMSeg")
    return _("{title}: {does}, {size} MB, {whose}.").format(
        title=breakable(entry.title), does=does, size=f"{entry.size_mb:.0f}", whose=whose
    )


def models_widgets(panel: Panel) -> dict[str, dict]:
    """name in the .ui -> Qt properties."""
    return {**_chosen_model(panel), **_suggestion(panel), **_models_section(panel)}
