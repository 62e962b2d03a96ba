"""From press to result, and what may come between: the panel's own code over a stand-in logic, and
over the real one.

The pictures of each state go to build/panel, or to the folder that PANEL_PICTURES names.
"""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from Testing.panel.steps import finish, press, process, start, texts


def test_an_empty_scene_says_what_is_missing_and_offers_the_sample(panel, picture):
    assert panel.ui.sampleButton.visible
    assert not panel.ui.segmentButton.enabled
    assert "sample head" in panel.ui.segmentButton.toolTip
    picture(panel, "empty")


def test_a_scan_that_is_loaded_becomes_the_input(panel, scan, picture):
    assert panel.ui.inputVolumeSelector.currentNode() is scan
    assert panel.ui.segmentButton.enabled
    assert not panel.ui.sampleButton.visible
    assert panel.ui.deviceComboBox.currentText.startswith("Automatic (")
    picture(panel, "ready")


def test_a_run_from_press_to_result(panel, logic, scan, drawn, picture, said):
    job = start(panel, logic)
    assert logic.calls == [
        (
            "segment",
            scan,
            {
                "segmentationNode": None,
                "model": "hippocampus-t1",
                "side": None,
                "device": "auto",
                "uncertainty": False,
                "augment": 0,
                "wholeSequence": True,
                "withModel": None,
                "regionNode": None,
            },
        )
    ]
    job.say("segment left", 0.43, 12.4)
    assert panel.ui.segmentButton.text == "Cancel"
    assert panel.ui.progressBar.value == 43
    picture(panel, "running")
    node = drawn("MRHead segmentation")
    finish(logic, node, notes=("The GPU's memory was too small; smaller tiles were used.",))
    assert panel.parameters.resultSegmentation is node
    assert panel.parameters.outputSegmentation is None
    assert panel.ui.segmentButton.text == "Segment"
    assert not panel.ui.progressBar.visible
    assert texts(panel.ui.resultTable)[3] == ["Right hippocampus (posterior)", "1.29", "–"]
    assert "4 structures" in panel.ui.statusLabel.text
    assert "smaller tiles" in panel.ui.statusLabel.text
    assert panel.ui.show3DButton.enabled
    assert not panel.ui.restoreButton.enabled
    press(panel.ui.copyTableButton)
    press(panel.ui.copyPythonButton)
    press(panel.ui.copyCommandButton)
    panel.ui.copyLogButton.click()
    assert said["copied"][0].startswith("Structure\tVolume (mL)\t")
    assert said["copied"][1:3] == ["segment(MRHead)", "medllmseg segment MRHead"]
    assert "segment: done" in said["copied"][3]
    picture(panel, "done")


def test_choices_reach_the_logic(panel, logic, module, scan, drawn):
    import slicer

    target, ui = drawn("mine"), panel.ui
    ui.outputSegmentationSelector.setCurrentNode(target)
    ui.sideComboBox.setCurrentIndex(1)
    ui.deviceComboBox.setCurrentIndex(1)
    ui.engineComboBox.setCurrentIndex(2)
    ui.uncertaintyCheckBox.checked, ui.wholeSequenceCheckBox.checked, ui.augmentSpinBox.value = (
        True,
        False,
        3,
    )
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "around the left")
    ui.regionSelector.setCurrentNode(roi)
    assert "in MRHead, inside around the left." in ui.segmentButton.toolTip
    start(panel, logic)
    assert logic.calls[0][2] == {
        "segmentationNode": target,
        "model": "hippocampus-t1",
        "side": "left",
        "device": "cpu",
        "engine": "onnx",
        "uncertainty": True,
        "augment": 3,
        "wholeSequence": False,
        "withModel": None,
        "regionNode": roi,
    }


def test_a_side_is_asked_of_models_alone_that_have_two(panel, logic, scan):
    """It may have been chosen for another model."""
    panel.ui.sideComboBox.setCurrentIndex(1)
    assert panel.running.options()["side"] == "left"
    assert panel.ui.sideComboBox.enabled
    panel.ui.modelList.setCurrentRow(1)
    assert panel.running.options()["side"] is None
    assert not panel.ui.sideComboBox.enabled
    panel.ui.modelList.setCurrentRow(0)
    assert panel.running.options()["side"] == "left"


def test_choices_survive_leaving_and_coming_back(panel, module, scan):
    panel.ui.sideComboBox.setCurrentIndex(1)
    panel.ui.augmentSpinBox.value = 2
    panel.exit()
    panel.ui.sideComboBox.setCurrentIndex(2)  # nobody listens now
    panel.enter()
    assert panel.parameters.side is module.Side.LEFT
    assert panel.ui.sideComboBox.currentIndex == 1
    assert panel.parameters.augment == 2


def test_cancel(panel, logic, scan, picture):
    job = start(panel, logic)
    job.say("load", 0.1)
    press(panel.ui.segmentButton)
    assert logic.calls[-1] == ("cancel", job)
    assert not panel.ui.segmentButton.enabled
    picture(panel, "cancelling")
    job.end("cancelled")
    assert "Cancelled" in panel.ui.statusLabel.text
    assert panel.ui.segmentButton.text == "Segment"
    start(panel, logic)


@pytest.mark.parametrize("late", [True, False])
def test_a_failure_is_one_sentence_and_the_next_press_works(
    panel, logic, scan, drawn, picture, late
):
    sentence = "The worker stopped (killed, or out of memory); press Segment again."
    if late:
        start(panel, logic).end("failed", message=sentence, details="Traceback")
    else:
        logic.error = UserError(sentence)
        press(panel.ui.segmentButton)
    assert sentence in panel.ui.statusLabel.text
    assert sentence in panel.ui.logText.plainText
    assert ("Traceback" in panel.ui.logText.plainText) is late
    picture(panel, "failed")
    logic.error = None
    start(panel, logic)
    finish(logic, drawn("found"))
    assert "4 structures" in panel.ui.statusLabel.text


def test_a_result_that_comes_while_another_module_is_shown_is_there_afterwards(
    panel, logic, scan, drawn
):
    start(panel, logic)
    panel.exit()
    node = drawn("found")
    finish(logic, node)
    panel.enter()
    assert panel.result.node is node
    assert panel.ui.resultWidget.visible
    assert texts(panel.ui.resultTable)


def test_what_nobody_expected_is_said_and_logged_and_the_next_press_works(panel, logic, scan):
    logic.error = TypeError("a mistake of ours")
    press(panel.ui.segmentButton)
    assert "a mistake of ours" in panel.ui.statusLabel.text
    assert "Traceback" in panel.ui.logText.plainText
    logic.error = None
    start(panel, logic)


def test_the_workers_log_is_opened_when_there_is_one(panel, said, cache):
    panel.ui.logCollapsibleButton.collapsed = False
    press(panel.ui.openLogButton)
    assert not said["opened"]
    assert "no log yet" in panel.ui.logText.plainText
    (cache / "worker.log").write_text("ready")
    press(panel.ui.openLogButton)
    assert said["opened"] == [str(cache / "worker.log")]


def test_the_panel_drives_the_real_logic(
    module, logic, make_panel, scan, said, application, monkeypatch
):
    import slicer

    from MedLLMSegLib.anatomy.structures import uncoded_structures
    from MedLLMSegLib.core.segmentation import Segmentation

    def segment(volume, model, *, progress, uncertainty=False, **options):
        progress("segment left", 0.5)
        labels = np.zeros(volume.array.shape, np.uint8)
        labels[2:5, 3:6, 4:8] = 1
        maps = (
            {"uncertainty": volume.with_array(np.ones(volume.array.shape, np.float32))}
            if uncertainty
            else {}
        )
        return Segmentation(
            volume.with_array(labels),
            uncoded_structures({1: "spleen"}),
            {1: 0.75},
            model=model,
            **maps,
        )

    real = logic.real(segment)
    monkeypatch.setattr(module, "MedLLMSegLogic", lambda: real)
    view = slicer.vtkMRMLSliceNode()
    view.SetLayoutName("Red")
    view = slicer.mrmlScene.AddNode(view)
    panel = make_panel()
    panel.ui.uncertaintyCheckBox.checked = True
    press(panel.ui.segmentButton)
    process(application, lambda: panel.panel.state == "idle")
    assert texts(panel.ui.resultTable) == [["Spleen", "0.04", "0.75"]]
    assert not real._polling
    node = panel.result.node
    assert panel.result.map is not None
    assert panel.ui.show3DButton.enabled
    assert not panel.ui.restoreButton.enabled
    shown_at = view.GetSliceToRAS().GetElement(2, 3)
    assert shown_at == pytest.approx(3, abs=1)  # where the labels are
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 0, 0, 70)
    panel.ui.outputSegmentationSelector.setCurrentNode(node)
    press(panel.ui.copyPythonButton)
    press(panel.ui.copyCommandButton)
    assert "uncertainty=True" in said["copied"][0]
    assert "medllmseg segment" in said["copied"][1]
    press(panel.ui.segmentButton)
    press(panel.ui.segmentButton)
    process(application, lambda: panel.panel.state == "idle")
    assert "Cancelled" in panel.ui.statusLabel.text
    press(panel.ui.segmentButton)
    process(application, lambda: panel.panel.state == "idle")
    assert (
        view.GetSliceToRAS().GetElement(2, 3) == 70
    )  # an update leaves the views where the user looks
    press(panel.ui.restoreButton)
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert panel.ui.restoreButton.enabled
    press(panel.ui.segmentButton)
    slicer.mrmlScene.Clear(0)
    process(application, lambda: not real._services.runner.busy)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert panel.ui.sampleButton.visible
    panel.cleanup()
