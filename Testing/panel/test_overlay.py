"""The map of uncertainty over the slice views, by its check box and slider."""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from Testing.panel.steps import finish, press, start


def test_the_overlay_follows_its_check_box(panel, logic, scan, drawn, shown_over):
    from MedLLMSegLib.slicer_bridge.scene.map_roles import UNCERTAINTY_MAP

    node = drawn("found", scan)
    node.SetNodeReferenceID(UNCERTAINTY_MAP, scan.GetID())
    start(panel, logic)
    finish(logic, node, uncertaintyNode=scan)
    slider = panel.ui.uncertaintySlider
    assert not slider.visible
    panel.ui.uncertaintyCheckBox.checked = True
    assert shown_over() is scan
    assert slider.visible
    assert shown_over.view.GetForegroundOpacity() == pytest.approx(0.7)
    slider.value = 25
    assert shown_over.view.GetForegroundOpacity() == pytest.approx(0.25)
    assert panel.parameters.uncertaintyOpacity == 25
    panel.ui.uncertaintyCheckBox.checked = False
    assert shown_over() is None
    assert [call for call in logic.calls if call[0] == "overlay"] == [("overlay", node)]


def test_a_map_that_cannot_be_shown_is_said_in_the_log(panel, logic, scan, drawn, monkeypatch):
    """As after Restore, when nobody knows the map any more; and the press does what it should."""
    from MedLLMSegLib.slicer_bridge.scene.map_roles import UNCERTAINTY_MAP

    def fail(node, volumeNode=None, show=True, opacity=0.7):
        raise UserError("This segmentation has no map of uncertainty.")

    monkeypatch.setattr(logic, "showUncertainty", fail)
    node = drawn("found", scan)
    node.SetNodeReferenceID(UNCERTAINTY_MAP, scan.GetID())
    logic.kept.append(node)
    panel.ui.uncertaintyCheckBox.checked = True
    start(panel, logic)
    finish(logic, node, uncertaintyNode=scan)
    assert "no map of uncertainty" in panel.ui.logText.plainText
    press(panel.ui.restoreButton)
    assert "Restored" in panel.ui.statusLabel.text


def test_a_map_that_is_deleted_leaves_the_views(panel, logic, scan, drawn, shown_over):
    import slicer

    from MedLLMSegLib.slicer_bridge.scene.overlay import map_node, name_map

    node = drawn("found", scan)
    unsure = slicer.mrmlScene.AddNode(map_node(np.ones((8, 9, 10), np.float32), scan))
    name_map(node, unsure)
    panel.ui.uncertaintyCheckBox.checked = True
    start(panel, logic)
    finish(logic, node, uncertaintyNode=unsure)
    assert shown_over() is unsure
    assert panel.ui.uncertaintySlider.visible
    unsure.SetAndObserveImageData(None)  # as while a scene is being loaded
    slicer.mrmlScene.RemoveNode(unsure)
    assert shown_over() is None
    assert not panel.ui.uncertaintySlider.visible
    assert not slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeNode")
