"""What the section Models shows of the models and the cache that are kept on this computer."""

from __future__ import annotations

from .panel_state import Panel
from .task_button import wait_for_run
from .translation import _


def stored_rows(panel: Panel) -> tuple[tuple[str, str], ...]:
    """(what it is, its size) of all that is kept."""
    return tuple((_name(stored), _size(stored.size_mb)) for stored in panel.stored)


def delete_question(panel: Panel) -> str:
    """The question before the selected row is deleted."""
    stored = panel.selected_stored
    text = {
        "llm": _("Models that need one of them will ask for it to be fetched again."),
        "encoders": _("The next training that needs one fetches it again."),
        "precision": _("The next scan on each model is measured again."),
        "exports": _("They are made again when another engine is used."),
        "trainings": _(
            "They hold copies of scans. A training that was stopped will begin anew; one that is"
            " running stays."
        ),
        "logs": "",
    }.get(stored.key, _("It has to be imported again to be used."))
    question = _("Delete {what} from disk ({size})?").format(
        what=_name(stored), size=_size(stored.size_mb)
    )
    return f"{question}\n{text}".strip()


def deleted_text(panel: Panel) -> str:
    """The message when the selected row was deleted."""
    return _("{what}: deleted.").format(what=_name(panel.selected_stored))


def _name(stored) -> str:
    if stored.is_model:
        return _("Model {title}").format(title=stored.what)
    return {
        "llm": _("Fetched layers of language models"),
        "encoders": _("Fetched vision encoders"),
        "precision": _("Measurements of precision"),
        "exports": _("Networks for other engines"),
        "trainings": _("Unfinished trainings, with scans"),
        "logs": _("Logs"),
    }[stored.key]


def _size(size_mb: float) -> str:
    return _("{size} MB").format(size=f"{size_mb:.1f}" if size_mb < 100 else f"{size_mb:.0f}")


def stored_widgets(panel: Panel) -> dict[str, dict]:
    """name in the .ui -> Qt properties."""
    total_mb = sum(stored.size_mb for stored in panel.stored)
    missing = "" if panel.selected_stored is not None else _("Select a row of the table.")
    why_not = missing or wait_for_run(panel)
    return {
        "storedLabel": {
            "text": _("Kept on this computer: {size}").format(size=_size(total_mb)),
            "visible": bool(panel.stored),
        },
        "storedTable": {"visible": bool(panel.stored)},
        "deleteStoredButton": {
            "visible": bool(panel.stored),
            "enabled": not why_not,
            "toolTip": why_not or _("Delete what is selected from disk; asks first."),
        },
    }
