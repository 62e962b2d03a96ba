"""What a model card says of the model's quality: what was fitted, and what that is worth."""

from __future__ import annotations

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.registry.cards import wrap_paragraph
from MedLLMSegLib.registry.catalogue import measured_model
from MedLLMSegLib.registry.own_figures import is_of


def quality_lines(m: Json) -> list[str]:
    """The section of the card; [] for a model without a fit of its own."""
    stored = m.get("quality")
    if not stored or not is_of(stored, measured_model(m)):
        return []
    cases, figures = stored["norms"]["cases"], stored.get("figures")
    if figures is None:
        text = (
            f"Every result gets a light (green, amber, red) with its reasons: from sizes, places,"
            f" parts and neighbours as in {cases} training cases. What Dice is to be expected was"
            " not fitted: `medllmseg quality` does it."
        )
        return ["## Quality", wrap_paragraph(text)]
    text = (
        f"Every result gets a light (green, amber, red) with its reasons: from the Dice to expect,"
        f" and from sizes, places, parts and neighbours as in {cases} training cases. The expected"
        f" Dice was fitted on {_scans(figures['fitted_on'])} that were not trained on, as they are"
        f" and corrupted, so that {_share(figures['fit_bad_share'])} of their structures are under"
        f" 0.8. On {_scans(figures['tested_on'])} that had no part in anything, it tells a Dice"
        f" under 0.8 with an AUROC of {_estimate(figures['all']['expected'])}; the mean confidence"
        f" alone does with {_estimate(figures['all']['confidence'])}."
    )
    return ["## Quality", wrap_paragraph(text), wrap_paragraph(_intervals(stored, figures))]


def _intervals(stored: Json, figures: Json) -> str:
    held = figures["coverage_plain"]
    level = f"{100 * stored['level']:.0f} %"
    if not held["intervals"]:
        return f"There are no intervals of volumes: {level} need nine persons or more."
    return (
        f"Intervals of volumes are split-conformal at {level}. In scans as they are,"
        f" {100 * held['coverage']:.0f} % of {held['intervals']} intervals of {held['persons']}"
        f" persons not used for them hold the volume by hand (in the median they reach"
        f" {100 * (held['factor'] - 1):.0f} % beyond what was found), and"
        f" {100 * figures['coverage']['coverage']:.0f} % of {figures['coverage']['intervals']}"
        " where corrupted ones count, too. `medllmseg quality` fits and measures all of this; the"
        " tables are in docs/quality.md."
    )


def _scans(counted: Json) -> str:
    return f"{counted['scans']} scans of {counted['persons']} persons"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _estimate(stored: Json) -> str:
    value, low, high = (stored[name] for name in ("value", "low", "high"))
    if value is None:
        return "(not measured)"
    return f"{value:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")
