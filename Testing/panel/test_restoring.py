"""Restore in the panel: table, map and message are of the segments that are shown."""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.slicer_bridge.presenter.panel_texts import MARK_COLOURS
from Testing.helpers.saved_scene import add_file_managers
from Testing.panel.steps import finish, press, process, start, texts


def test_restore(panel, logic, scan, drawn, picture):
    node = drawn("found")
    logic.kept.append(node)
    start(panel, logic)
    finish(logic, node)
    press(panel.ui.restoreButton)
    assert logic.calls[-1] == ("restore", node)
    assert "Restored" in panel.ui.statusLabel.text
    assert panel.ui.restoreButton.visible
    assert not panel.ui.copyTableButton.enabled  # as there are no segments
    picture(panel, "restored")
    press(panel.ui.restoreButton)
    assert texts(panel.ui.resultTable)[0] == ["Left hippocampus (anterior)", "1.53", "0.91"]
    assert panel.ui.copyTableButton.enabled


@pytest.mark.parametrize("failed_since", [False, True])
def test_nothing_is_said_of_a_result_that_was_deleted(panel, logic, scan, drawn, failed_since):
    """What failed since then is still said."""
    import slicer

    node = drawn("found")
    logic.kept.append(node)
    start(panel, logic)
    finish(logic, node)
    press(panel.ui.restoreButton)
    if failed_since:
        start(panel, logic).end("failed", message="It broke.")
    slicer.mrmlScene.RemoveNode(node)
    assert not panel.ui.resultWidget.visible
    assert "Restored" not in panel.ui.statusLabel.text
    assert ("It broke." in panel.ui.statusLabel.text) is failed_since
    assert panel.panel.rows == ()
    start(panel, logic)
    finish(logic, drawn("found again"))
    assert "found again: 4 structures" in panel.ui.statusLabel.text


def test_nothing_is_said_of_a_result_when_another_scene_is_added(
    panel, logic, scan, drawn, tmp_path
):
    """Its parameters, and with them its result, take the place of those that were there."""
    import slicer

    start(panel, logic)
    finish(logic, drawn("saved", scan))
    add_file_managers(slicer.mrmlScene, tmp_path)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    start(panel, logic)
    finish(logic, drawn("found", scan))
    assert "found: 4 structures" in panel.ui.statusLabel.text
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), False)
    assert panel.result.node.GetName() == "saved"
    assert not panel.ui.statusLabel.text
    assert not panel.ui.resultTable.visible


def test_a_failure_of_restore_has_a_red_mark(panel, logic, scan, drawn, monkeypatch):
    node = drawn("found")
    logic.kept.append(node)
    start(panel, logic)
    finish(logic, node)
    assert MARK_COLOURS["done"] in panel.ui.statusLabel.text
    sentence = "There is no earlier segmentation to restore in this node."

    def fail(node):
        raise UserError(sentence)

    monkeypatch.setattr(logic, "restore", fail)
    press(panel.ui.restoreButton)
    assert sentence in panel.ui.statusLabel.text
    assert MARK_COLOURS["failed"] in panel.ui.statusLabel.text
    start(panel, logic)
    finish(logic, node)
    assert MARK_COLOURS["done"] in panel.ui.statusLabel.text


def _spleen_segmenter():
    """A stand-in for the network: each run finds one more plane of a spleen."""
    from MedLLMSegLib.anatomy.structures import uncoded_structures
    from MedLLMSegLib.core.segmentation import Segmentation

    runs = []

    def segment(volume, model, *, progress, uncertainty=False, **options):
        runs.append(model)
        labels = np.zeros(volume.array.shape, np.uint8)
        labels[2 : 4 + len(runs), 3:6, 4:8] = 1
        unsure = volume.with_array(np.ones(volume.array.shape, np.float32)) if uncertainty else None
        return Segmentation(
            volume.with_array(labels),
            uncoded_structures({1: "spleen"}),
            {1: 0.75},
            model=model,
            uncertainty=unsure,
        )

    return segment


def test_restore_brings_back_table_and_map_and_again(
    module, logic, make_panel, scan, application, monkeypatch, shown_over
):
    """Of the segments that are shown, whether a run of this session has made them or a user."""
    import slicer

    real = logic.real(_spleen_segmenter())
    monkeypatch.setattr(module, "MedLLMSegLogic", lambda: real)
    panel = make_panel()

    def run():
        press(panel.ui.segmentButton)
        process(application, lambda: panel.panel.state == "idle")

    run()
    first, node = texts(panel.ui.resultTable), panel.result.node
    panel.ui.outputSegmentationSelector.setCurrentNode(node)
    panel.ui.uncertaintyCheckBox.checked = True
    run()
    second, unsure = texts(panel.ui.resultTable), panel.result.map
    assert (first, second) == ([["Spleen", "0.04", "0.75"]], [["Spleen", "0.05", "0.75"]])
    assert shown_over() is unsure
    press(panel.ui.restoreButton)
    assert texts(panel.ui.resultTable) == first
    assert shown_over() is None  # the first run made no map
    assert "no map" not in panel.ui.logText.plainText
    press(panel.ui.restoreButton)
    assert texts(panel.ui.resultTable) == second
    assert shown_over() is unsure
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    array = np.zeros((8, 9, 10), np.uint8)
    array[1:3, 1:6, 1:9] = 1
    name = own.GetSegmentation().AddEmptySegment("tumour", "Tumour")
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, own, name, scan)
    panel.ui.outputSegmentationSelector.setCurrentNode(own)
    run()
    press(panel.ui.restoreButton)
    assert texts(panel.ui.resultTable) == [["Tumour", "0.08", "–"]]
    panel.cleanup()
