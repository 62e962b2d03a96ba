"""Every scan of the scene at once, from the panel."""

import numpy as np
import pytest

from MedLLMSegLib.slicer_bridge.logic.jobs import ScanOfBatch
from Testing.panel.steps import ROWS, press, start


@pytest.fixture
def scans(panel, scan):
    import slicer

    array = np.zeros((4, 4, 4), np.int16)
    return [scan, *(slicer.util.addVolumeFromArray(array, name=name) for name in ("CT-1", "CT-2"))]


def test_all_scans_are_segmented_with_the_input_first(panel, logic, scans, drawn, picture, said):
    import slicer

    from MedLLMSegLib.slicer_bridge.scene.map_roles import UNCERTAINTY_MAP

    heat = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4), np.int16), name="a map")
    heat.SetAttribute(UNCERTAINTY_MAP, "map")
    panel.ui.inputVolumeSelector.setCurrentNode(scans[1])
    panel.ui.outputSegmentationSelector.setCurrentNode(drawn("of one alone"))
    assert panel.ui.segmentButton.text == "Segment"
    panel.ui.allScansCheckBox.checked = True
    panel.scans.update()
    assert panel.ui.segmentButton.text == "Segment 3 scans"
    assert "every scan of the scene" in panel.ui.segmentButton.toolTip
    press(panel.ui.copyPythonButton)
    assert said["copied"][0].splitlines() == ["segment(CT-1)", "segment(MRHead)", "segment(CT-2)"]
    job = start(panel, logic)
    what, nodes, _options = logic.calls[0]
    assert (what, nodes) == ("segment all", [scans[1], scans[0], scans[2]])
    job.say("2 of 3: segment left", 0.4, 30)
    assert "2 of 3: outlining, left side" in panel.ui.statusLabel.text
    node = drawn("CT-1 segmentation", scans[1])
    outcome = (
        ScanOfBatch("CT-1", node),
        ScanOfBatch("CT-2", message="It is upside down.", details="Trace"),
    )
    job.end("done", segmentationNode=node, rows=ROWS, planned=2, scans=outcome)
    assert "1 of 2 scans were segmented" in panel.ui.statusLabel.text
    assert "CT-2 failed: It is upside down." in panel.ui.statusLabel.text
    assert "CT-2: It is upside down.\nTrace" in panel.ui.logText.plainText
    press(panel.ui.copyDetailsButton)
    assert "It is upside down.\nTrace" in said["copied"][-1]
    assert panel.result.node is node
    picture(panel, "batch", "advanced")


def test_restore_is_about_the_table_after_a_batch_and_about_the_segments_after_a_run(
    panel, logic, scans, drawn
):
    table = scans[0].GetScene().AddNewNodeByClass("vtkMRMLTableNode", "m volumes of all scans")
    panel.ui.allScansCheckBox.checked = True
    node = drawn("MRHead segmentation", scans[0])
    logic.kept.append(table)
    outcome = (ScanOfBatch("MRHead", node, rows=ROWS),)
    start(panel, logic).end(
        "done", segmentationNode=node, rows=ROWS, planned=3, scans=outcome, batchNode=table
    )
    assert "in the table" in panel.ui.statusLabel.text
    assert "m volumes of all scans" in panel.ui.statusLabel.text
    assert panel.ui.restoreButton.enabled
    press(panel.ui.restoreButton)
    assert logic.calls[-1] == ("restore", table)
    assert "table of the batch before is back" in panel.ui.statusLabel.text
    assert panel.ui.resultTable.rowCount == len(ROWS)  # of the segmentation, which stays
    panel.ui.allScansCheckBox.checked = False
    start(panel, logic).end("done", segmentationNode=node, rows=ROWS)
    assert not panel.ui.restoreButton.enabled


def test_a_cancelled_batch_lets_the_table_before_be_restored(panel, logic, scans, drawn):
    table = scans[0].GetScene().AddNewNodeByClass("vtkMRMLTableNode", "m volumes of all scans")
    panel.ui.allScansCheckBox.checked = True
    logic.kept.append(table)
    job = start(panel, logic)
    press(panel.ui.segmentButton)
    outcome = (ScanOfBatch("MRHead", drawn("found")),)
    job.end("cancelled", planned=3, scans=outcome, batchNode=table)
    assert panel.ui.restoreButton.enabled
    scans[0].GetScene().RemoveNode(table)
    panel.update()
    assert not panel.ui.restoreButton.enabled


def test_one_scan_alone_is_no_batch(panel, logic, scan):
    panel.ui.allScansCheckBox.checked = True
    assert panel.ui.segmentButton.text == "Segment"
    start(panel, logic)
    assert logic.calls[0][0] == "segment"


def test_a_cancelled_batch_says_what_stays(panel, logic, scans, drawn):
    panel.ui.allScansCheckBox.checked = True
    job = start(panel, logic)
    press(panel.ui.segmentButton)
    job.end("cancelled", planned=3, scans=(ScanOfBatch("MRHead", drawn("found")),))
    assert "1 of 3 scans had been segmented" in panel.ui.statusLabel.text
