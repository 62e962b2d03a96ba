"""The one check that every figure passes on its way into a bundle or a card: it was measured with
this very model, and on cases of which is said whether the model has seen them.

A summary of `medllmseg evaluate` carries "measured_model" (the hash) and "marks": case -> what it
is recognised by. A bundle keeps the marks without the names of the cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json

from .measured_model import MeasuredModel
from .seen_cases import Marks

OWNER, MARKS = "measured_model", "marks"


def is_of(figures: Json | None, model: MeasuredModel) -> bool:
    """Whether figures were measured with this very model."""
    return figures is not None and figures.get(OWNER) == model.sha256


def check_own_figures(figures: Json, model: MeasuredModel, source: Path | str) -> None:
    """Raise `UserError` for figures of another model, and for those of cases it has seen.

    figures: a summary. source: its file, for the message.
    """
    if figures.get("weights_sha256") != model.weights_sha256:
        raise UserError(
            f'"{source}" was measured with other weights; evaluate this very bundle first.'
        )
    if figures.get(OWNER) != model.sha256:
        raise UserError(
            f'"{source}" was measured with these weights, but with other settings, another'
            " calibration or another cleaning than the bundle has now; evaluate the bundle again."
        )
    seen = model.seen_by_any.among(marks_of(figures))
    if seen:
        raise UserError(
            f'"{source}" holds figures of {len(seen)} cases that were trained on or chosen by (by'
            f' their images or their persons\' names), for example "{seen[0]}"; measure cases that'
            " the training has not seen."
        )


def marks_of(figures: Json) -> dict[str, Marks]:
    """What the measured cases are recognised by; {} where the figures do not say."""
    stated = figures.get(MARKS) or {}
    if isinstance(stated, list):  # in a bundle, without names
        stated = {str(n): marks for n, marks in enumerate(stated)}
    return {case_id: Marks.from_dict(marks) for case_id, marks in stated.items()}


def marks_as_json(measured: Mapping[str, Marks]) -> Json:
    """For a summary: case -> marks."""
    return {case_id: marks.to_dict() for case_id, marks in sorted(measured.items())}


def without_names(figures: Json) -> Json:
    """A summary whose marks no longer say which case is which."""
    stated = figures.get(MARKS)
    if not isinstance(stated, dict):
        return figures
    marks = sorted(stated.values(), key=lambda each: (each["scans"], each["persons"]))
    return {**figures, MARKS: marks}


def training_words(figures: Json, model: MeasuredModel) -> str:
    """What is known of the measured cases, for "On 32 crops of 21 heads, ...".

    That they took no part in training is said only where all that the model has seen is listed,
    and none of the measured cases is in the list.
    """
    marks = marks_of(figures)
    seen = model.seen_by_any.among(marks)
    if seen:
        return f"of which {len(seen)} took part in training or choosing"
    if not model.seen_by_any.known:
        return "of which it is not known whether they took part in training, as it is not listed"
    if len(marks) < int(figures.get("cases") or 0) or not all(m.scans for m in marks.values()):
        return "of which it is not known whether they took part in training, as they are not listed"
    return "that had no part in training or choosing"
