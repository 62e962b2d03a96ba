"""The choice that divides the hippocampi of a brain into their parts."""

from dataclasses import replace

import pytest

from MedLLMSegLib.registry.catalogue import BUNDLES, model_entry
from Testing.panel.steps import press, start


@pytest.fixture
def brain(logic):
    """brain-mr comes first in the list, and its hippocampi can be divided."""
    first = logic.choices[0]
    entry = model_entry(BUNDLES / "brain-mr")
    logic.choices = (replace(first, entry=entry), *logic.choices)
    return entry


@pytest.fixture
def panel(brain, make_panel):
    panel = make_panel()
    panel.parameters.model = "brain-mr"
    return panel


def test_it_is_shown_for_models_that_it_fits_alone(panel, scan, picture):
    box = panel.ui.partsCheckBox
    assert box.visible
    assert "by hippocampus-t1 (MR T1)" in box.toolTip
    box.checked = True
    picture(panel, "parts")
    panel.ui.modelList.setCurrentRow(1)  # the hippocampus itself
    assert not box.visible
    assert panel.running.options()["withModel"] is None  # though it stays ticked
    panel.ui.modelList.setCurrentRow(0)
    assert box.visible
    assert panel.running.options()["withModel"] == "hippocampus-t1"


def test_it_reaches_the_logic_where_it_is_ticked(panel, logic, scan):
    start(panel, logic).end("cancelled")
    panel.ui.partsCheckBox.checked = True
    start(panel, logic)
    assert [call[2]["withModel"] for call in logic.calls] == [None, "hippocampus-t1"]


def test_the_second_models_licence_is_asked_for_too(panel, logic, scan, cache):
    """Nobody has accepted it, and brain-mr needs no consent."""
    from MedLLMSegLib.registry.licences import ACCEPTED

    (cache / ACCEPTED).write_text("{}")
    asks = replace(logic.choices[1], entry=replace(logic.choices[1].entry, accept_licence=True))
    logic.choices = (logic.choices[0], asks, *logic.choices[2:])
    panel.models.refresh()
    panel.ui.partsCheckBox.checked = True
    press(panel.ui.segmentButton)
    assert logic.calls == []
    assert "CC-BY-SA-4.0" in panel.ui.statusLabel.text
    press(panel.ui.segmentButton)
    assert logic.calls[0][2]["withModel"] == "hippocampus-t1"
