"""From a result to Slicer's Segment Editor."""

import types

import numpy as np
import pytest

from Testing.panel.steps import finish, press, start


class Editor:
    """qMRMLSegmentEditorWidget, which forgets what was chosen when its module is opened."""

    segmentation = scan = None

    def setSegmentationNode(self, node):
        self.segmentation = node
        self.scan = None  # as Slicer's does

    def setSourceVolumeNode(self, node):
        assert self.segmentation is not None, "Slicer ignores a volume without a segmentation"
        self.scan = node


@pytest.fixture
def editor(panel, monkeypatch):
    import slicer

    editor = Editor()
    widget = types.SimpleNamespace(editor=editor)
    module = types.SimpleNamespace(
        widgetRepresentation=lambda: types.SimpleNamespace(self=lambda: widget)
    )

    def select(name):
        assert name == "SegmentEditor"
        panel.exit()
        segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        editor.setSegmentationNode(segmentations[0])  # the first of the scene

    monkeypatch.setattr(slicer.modules, "segmenteditor", module, raising=False)
    monkeypatch.setattr(slicer.util, "selectModule", select, raising=False)
    return editor


def test_the_result_is_opened_in_the_segment_editor_over_its_own_scan(
    panel, logic, scan, drawn, editor
):
    import slicer

    other = drawn("of another scan")
    start(panel, logic)
    result = drawn("MRHead segmentation", scan)
    finish(logic, result)
    second = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4), np.int16), name="CT of today")
    panel.ui.inputVolumeSelector.setCurrentNode(second)  # the next one to segment
    assert "MRHead segmentation" in panel.ui.editButton.toolTip
    press(panel.ui.editButton)
    assert editor.segmentation is result
    assert editor.segmentation is not other
    assert editor.scan is scan


def test_a_segmentation_that_names_no_scan_is_opened_over_the_input(
    panel, logic, scan, drawn, editor
):
    start(panel, logic)
    result = drawn("mine")
    finish(logic, result)
    press(panel.ui.editButton)
    assert (editor.segmentation, editor.scan) == (result, scan)


def test_an_editor_that_does_not_open_is_said(panel, logic, scan, drawn, editor, monkeypatch):
    import slicer

    start(panel, logic)
    finish(logic, drawn("mine"))
    monkeypatch.delattr(slicer.modules, "segmenteditor")
    press(panel.ui.editButton)
    assert "went wrong" in panel.ui.statusLabel.text


def test_an_editor_that_fails_is_said_when_its_module_is_open_already(
    panel, logic, scan, drawn, editor, monkeypatch, raised
):
    start(panel, logic)
    finish(logic, drawn("mine"))

    def broken(node):
        raise RuntimeError("no such effect")

    monkeypatch.setattr(editor, "setSourceVolumeNode", broken)
    press(panel.ui.editButton)
    assert panel.parameters is None  # the Segment Editor is shown
    assert "went wrong" in panel.ui.statusLabel.text
    assert raised == []
    panel.enter()
    assert "went wrong" in panel.ui.statusLabel.text  # still, for whoever comes back
    assert panel.ui.editButton.enabled


def test_the_surfaces_smoothing_is_that_of_the_segmentation(panel, logic, scan, drawn, picture):
    from MedLLMSegLib.slicer_bridge.scene.surface_smoothing import set_smoothing, smoothing_of

    start(panel, logic)
    result, other = drawn("MRHead segmentation", scan), drawn("earlier", scan)
    finish(logic, result)
    assert panel.ui.smoothingSpinBox.value == 50
    panel.ui.smoothingSpinBox.value = 80
    assert (smoothing_of(result), smoothing_of(other)) == (80, 50)
    picture(panel, "smoothing")
    set_smoothing(other, 20)
    panel.parameters.resultSegmentation = other
    assert panel.ui.smoothingSpinBox.value == 20
    assert smoothing_of(result) == 80
