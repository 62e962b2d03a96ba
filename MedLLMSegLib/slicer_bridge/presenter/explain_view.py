"""What the panel shows around its button Explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .panel_state import Panel, message_beside_result
from .task_button import ButtonFace, task_button, why_wait_for_other_task
from .translation import _, isolated


def structure_choices(
    rows: Sequence[tuple[str, float, float | None]], inserted: Sequence[str] = ()
) -> tuple[str, ...]:
    """What can be explained: organs of several parts first, then every structure that was found.

    rows: of the result table. "Left hippocampus (anterior)" and "(posterior)" are also explained
    together, as "Left hippocampus". inserted: names of the rows that a second model drew inside the
    first one's structures; the first one, which is asked, knows the whole alone.
    """
    names = [name for name, _ml, _confidence in rows]
    organs = [name.partition(" (")[0] for name in names if " (" in name]
    several = dict.fromkeys(organ for organ in organs if organs.count(organ) > 1)
    return tuple(dict.fromkeys((*several, *(n for n in names if n not in inserted))))


def with_explanation(panel: Panel, job) -> Panel:
    """The panel when an explanation has ended. job: the logic's `Job`.

    What was said of the result, its notes and its light, stays below the explanation.
    """
    if job.state == "cancelled":
        text = job.message or _("Cancelled; the scene is as it was.")
    elif job.state == "failed":
        text = job.message or _("It failed; the scene is as it was.")
    else:
        found = _("Evidence for {structure}.").format(structure=isolated(job.structure))
        text = " ".join((found, *job.notes))
    message = message_beside_result(text, failed=job.state == "failed")
    return replace(panel, state="idle", stage="", fraction=0.0, seconds_left=None, **message)


def explain_widgets(panel: Panel) -> dict[str, dict]:
    """name in the .ui -> Qt properties."""
    has_result = panel.result is not None and bool(panel.rows)
    missing = why_wait_for_other_task(panel, "explain")
    if not missing and not has_result:
        missing = _("Press Segment first.")
    ready = ButtonFace(
        _("Explain"),
        _("Map where in the scan the evidence for this structure lies (Grad-CAM)."),
    )
    overlay = (
        _("Show where the evidence lies, over the scan.")
        if panel.evidenced
        else _("Choose a structure and press Explain.")
    )
    return {
        "explainComboBox": {
            "enabled": has_result,
            "toolTip": _("What is to be explained: a structure that was found."),
        },
        "explainButton": task_button(panel, "explain", missing, ready, {}),
        "evidenceCheckBox": {"toolTip": overlay},
    }
