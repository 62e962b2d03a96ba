"""Height and weight of the person, which the panel asks for beside a model of the heart: its
figures are then also given by body surface.
"""

from __future__ import annotations

from MedLLMSegLib.core.errors import UserError

from .panel_state import Panel
from .translation import _

CHAMBERS = {"left ventricle", "right ventricle"}


def asks_for_person(panel: Panel) -> bool:
    """Whether the chosen model outlines a heart, and one scan is to be segmented: several may be of
    several persons.
    """
    chosen = panel.chosen
    return chosen is not None and CHAMBERS.issubset(chosen.structures) and not panel.is_batch


def person_options(panel: Panel) -> dict[str, int]:
    """Height and weight as the logic takes them; none where they are not asked for or not known."""
    if not asks_for_person(panel):
        return {}
    stated = {"heightCm": panel.height_cm, "weightKg": panel.weight_kg}
    return {name: value for name, value in stated.items() if value}


def why_no_person(panel: Panel) -> str:
    """What is wrong with height and weight, in one sentence; "" if nothing is."""
    options = person_options(panel)
    if not options:
        return ""
    from MedLLMSegLib.metrics.heart_function import Person  # numpy comes with it

    try:
        Person(options.get("heightCm"), options.get("weightKg"))
    except UserError as error:
        return str(error)
    return ""


def person_widgets(panel: Panel) -> dict[str, dict]:
    """name in the .ui -> Qt properties."""
    shown = {"visible": asks_for_person(panel)}
    tip = _(
        "Of the person whose heart it is: volumes and mass are then also given by body surface."
        " They are not saved with the scene, and are forgotten when another scan is chosen."
    )
    return {
        "heightLabel": shown,
        "heightSpinBox": {**shown, "value": panel.height_cm, "toolTip": tip},
        "weightSpinBox": {**shown, "value": panel.weight_kg, "toolTip": tip},
    }
