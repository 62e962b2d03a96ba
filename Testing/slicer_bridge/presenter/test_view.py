"""What the panel shows in every state, without Qt."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from MedLLMSegLib.slicer_bridge.presenter.panel_state import Panel
from MedLLMSegLib.slicer_bridge.presenter.view import view
from Testing.helpers.panel_states import BUSY, READY

UI = ElementTree.parse(
    Path(__file__).resolve().parents[3] / "MedLLMSeg/Resources/UI/MedLLMSeg.ui"
).getroot()
STATES = ("idle", "needs_licence", "needs_packages", "failed", *BUSY)


@pytest.mark.parametrize("task", ["segment", "train"])
@pytest.mark.parametrize("state", STATES)
def test_every_disabled_button_says_what_is_missing(state, task):
    for panel in (
        Panel(state=state, task=task),
        replace(READY, state=state, task=task, packages=("safetensors (1 MB)",)),
    ):
        for name, properties in view(panel).widgets.items():
            if name.endswith("Button"):
                assert properties.get("toolTip") or properties.get("enabled", True), (name, state)


def test_every_widget_that_is_described_is_in_the_ui_file():
    assert set(view(READY).widgets) <= {widget.get("name") for widget in UI.iter("widget")}


def test_no_selector_of_nodes_chooses_by_itself():
    """One without None takes whatever is left when its node is deleted: a map of uncertainty,
    for example.
    """
    selectors = [w for w in UI.iter("widget") if w.get("class") == "qMRMLNodeComboBox"]
    assert len(selectors) >= 6
    for widget in selectors:
        values = {p.get("name"): "".join(p.itertext()).strip() for p in widget.iter("property")}
        assert values["noneEnabled"] == "true", widget.get("name")
        assert values["addEnabled"] == "false", widget.get("name")


@pytest.mark.parametrize("state", STATES)
def test_the_same_properties_are_set_in_every_state(state):
    """Else what one state showed would stay in the next."""
    first = {name: set(properties) for name, properties in view(READY).widgets.items()}
    for task in ("segment", "train"):
        panel = replace(READY, state=state, task=task)
        assert {name: set(properties) for name, properties in view(panel).widgets.items()} == first
