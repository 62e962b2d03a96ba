"""What the panel shows is a function of its state: `view(panel)`.

The widget keeps a `Panel`, replaces fields of it as things happen, and copies `view(panel)` to its
widgets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .diagnose_view import DiagnosisTexts, classifier_rows, diagnose_widgets, diagnosis_texts
from .explain_view import structure_choices
from .models_view import model_rows, models_widgets
from .panel_state import Panel
from .segment_view import ResultTexts, row_texts, segment_widgets
from .stored_view import stored_rows, stored_widgets
from .train_view import start_rows, train_widgets
from .volumetry_view import VolumetryGroup, volumetry_groups


@dataclass(frozen=True)
class View:
    """What the panel shows.

    widgets: name in the .ui -> Qt properties.
    models: ids, titles and tooltips of the model list. chosen: the id of the selected row.
    starts: ids (None: new weights) and titles of what a training can start from.
    rows: texts of the result table. groups: of a result of many structures, the same as a tree with
        more columns; () for any other. pairs: texts of the table of training pairs.
    explained: names of the structures that can be explained.
    classifiers: ids of the list in the section Diagnose. classifier: the selected one.
    diagnosis: texts of that section's table. fields: (name, hint) of the classifier's record.
    managed_models: ids of the list in the section Models, of either kind. managed: the selected
        one. stored: texts of its table of what is kept on this computer.
    """

    widgets: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: tuple[tuple[str, str, str], ...] = ()
    chosen: str = ""
    starts: tuple[tuple[str | None, str], ...] = ()
    rows: tuple[ResultTexts, ...] = ()
    groups: tuple[VolumetryGroup, ...] = ()
    explained: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    classifiers: tuple[str, ...] = ()
    classifier: str = ""
    diagnosis: tuple[DiagnosisTexts, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    managed_models: tuple[str, ...] = ()
    managed: str = ""
    stored: tuple[tuple[str, str], ...] = ()


def view(panel: Panel) -> View:
    """What the panel shows in a state."""
    return View(
        widgets={
            **segment_widgets(panel),
            **models_widgets(panel),
            **stored_widgets(panel),
            **train_widgets(panel),
            **diagnose_widgets(panel),
        },
        models=model_rows(panel),
        chosen=panel.model,
        starts=start_rows(panel),
        rows=tuple(row_texts(*row) for row in panel.rows),
        groups=volumetry_groups(panel.volumetry, panel.rows) if panel.volumetry else (),
        explained=structure_choices(panel.rows, panel.inserted),
        pairs=panel.pairs,
        classifiers=classifier_rows(panel),
        classifier=panel.classifier,
        diagnosis=tuple(diagnosis_texts(*row) for row in panel.diagnosis),
        fields=panel.extra_inputs.fields,
        managed_models=tuple(m.entry.id for m in (*panel.models, *panel.classifiers)),
        managed=getattr(panel.managed_entry, "id", ""),
        stored=stored_rows(panel),
    )
