"""The button Explain, its map over the views, and the result as text."""

import pytest

from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.slicer_bridge.scene.overlay import name_map
from Testing.panel.steps import ROWS, finish, press, start


@pytest.fixture
def result(panel, logic, scan, drawn):
    start(panel, logic)
    node = drawn("MRHead segmentation")
    finish(
        logic,
        node,
        drawnBy="hippocampus-t1",
        sentences=("The left hippocampus measures 2.9 mL.", "Look at it."),
        notes=("The scan is of another domain.",),
        quality=ScanQuality(Quality("amber", ("the expected Dice is 0.71",))),
    )
    return node


def test_a_structure_is_explained_from_press_to_map(panel, logic, result, scan, picture):
    import slicer

    combo = panel.ui.explainComboBox
    assert [combo.itemText(n) for n in range(combo.count)] == [
        "Left hippocampus",
        "Right hippocampus",
        *(name for name, _ml, _confidence in ROWS),
    ]
    combo.setCurrentIndex(1)
    press(panel.ui.explainButton)
    assert logic.calls[-1] == (
        "explain",
        result,
        "Right hippocampus",
        {"model": "hippocampus-t1", "device": "auto"},
    )
    assert panel.ui.explainButton.text == "Cancel"
    assert not panel.ui.segmentButton.enabled
    logic.job.say("explain", 0.7)
    assert panel.ui.progressBar.value == 70
    evidence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "MRHead evidence")
    name_map(result, evidence, "MedLLMSegEvidence")
    logic.job.end("done", structure="Right hippocampus", notes=("All of it lies inside.",))
    assert "Evidence for" in panel.ui.statusLabel.text
    assert "All of it lies inside." in panel.ui.statusLabel.text
    assert panel.ui.evidenceCheckBox.checked
    assert panel.ui.uncertaintySlider.visible
    assert ("evidence", result) in logic.calls
    assert combo.currentText == "Right hippocampus"
    picture(panel, "explained")
    panel.ui.evidenceCheckBox.click()
    assert not panel.ui.uncertaintySlider.visible


def test_a_press_on_cancel_stops_it(panel, logic, result):
    press(panel.ui.explainButton)
    press(panel.ui.explainButton)
    assert logic.calls[-1] == ("cancel", logic.job)
    logic.job.end("cancelled")
    assert "the scene is as it was" in panel.ui.statusLabel.text
    assert "The scan is of another domain." in panel.ui.statusLabel.text
    assert "Quality amber" in panel.ui.statusLabel.text
    assert panel.ui.explainButton.text == "Explain"


def test_the_result_can_be_copied_as_sentences(panel, result, said):
    press(panel.ui.copyTextButton)
    assert said["copied"] == ["The left hippocampus measures 2.9 mL.\nLook at it.\n"]
