"""Height and weight in the panel: beside a model of the heart, of the chosen scan alone."""

import pytest

from Testing.panel.steps import press

HEART = "heart-cine"


@pytest.fixture
def panel(make_panel):
    return make_panel()


def test_they_are_shown_beside_a_heart_and_reach_the_logic(panel, logic, scan, cache, picture):
    assert not panel.ui.heightSpinBox.visible
    panel.parameters.model = HEART
    assert panel.ui.heightSpinBox.visible
    panel.ui.heightSpinBox.value = 178
    assert not panel.ui.segmentButton.enabled
    panel.ui.weightSpinBox.value = 81
    picture(panel, "person")
    press(panel.ui.segmentButton)  # which asks for the licence
    press(panel.ui.segmentButton)
    assert logic.calls[0][2]["heightCm"] == 178
    assert logic.calls[0][2]["weightKg"] == 81


def test_another_scan_is_of_another_person(panel, logic, scan):
    panel.parameters.model = HEART
    panel.ui.heightSpinBox.value, panel.ui.weightSpinBox.value = 178, 81
    panel.parameters.inputVolume = None
    assert (panel.ui.heightSpinBox.value, panel.ui.weightSpinBox.value) == (0, 0)
    assert "heightCm" not in panel.running.options()
