"""Which scan the panel chooses by itself, and what happens when nodes come and go."""

import numpy as np
import pytest


def test_when_the_input_is_deleted_the_next_scan_takes_its_place(panel, scan):
    import slicer

    other = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4)), name="other")
    slicer.mrmlScene.RemoveNode(scan)
    assert panel.parameters.inputVolume is other
    assert panel.panel.input == "other"
    assert panel.ui.segmentButton.enabled
    slicer.mrmlScene.RemoveNode(other)
    assert panel.parameters.inputVolume is None
    assert not panel.ui.segmentButton.enabled
    assert panel.ui.sampleButton.visible


def test_what_is_no_scan_is_not_chosen_by_itself(panel, drawn):
    import slicer

    from MedLLMSegLib.slicer_bridge.scene.overlay import name_map

    hidden = slicer.vtkMRMLScalarVolumeNode()
    hidden.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(hidden)
    assert panel.parameters.inputVolume is None
    assert panel.ui.sampleButton.visible
    unsure = slicer.vtkMRMLScalarVolumeNode()
    name_map(drawn("found"), None)
    unsure.SetAttribute("MedLLMSegUncertainty", "map")
    slicer.mrmlScene.AddNode(unsure)
    assert panel.parameters.inputVolume is None


def test_a_map_does_not_take_the_place_of_a_scan_that_is_deleted(panel, scan, drawn):
    """Slicer's selector lists it as a volume, and goes to the row above when its node is
    removed.
    """
    import slicer

    from MedLLMSegLib.slicer_bridge.scene.map_roles import HEAT_MAP
    from MedLLMSegLib.slicer_bridge.scene.overlay import map_node, name_map

    maps = [
        slicer.mrmlScene.AddNode(map_node(np.ones((8, 9, 10), np.float32), scan)) for _ in range(2)
    ]
    name_map(drawn("found", scan), maps[0])
    name_map(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode"), maps[1], HEAT_MAP)
    other = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4)), name="other")  # below the maps
    panel.parameters.inputVolume = other
    slicer.mrmlScene.RemoveNode(other)
    assert panel.parameters.inputVolume is scan
    panel.ui.inputVolumeSelector.setCurrentNode(
        maps[0]
    )  # whoever wants one gets it, though another scan is there
    assert panel.parameters.inputVolume is maps[0]
    slicer.mrmlScene.RemoveNode(slicer.util.addVolumeFromArray(np.zeros((4, 4, 4))))
    assert panel.parameters.inputVolume is maps[0]
    panel.ui.inputVolumeSelector.setCurrentNode(scan)
    panel.ui.diagnoseImageSelector.setCurrentNode(maps[1])
    assert panel.panel.image is None  # a heat map is no image to be diagnosed
    slicer.mrmlScene.RemoveNode(scan)
    assert panel.parameters.inputVolume is None
    assert panel.ui.inputVolumeSelector.currentNode() is None
    assert not panel.ui.segmentButton.enabled
    assert "Load a scan" in panel.ui.segmentButton.toolTip
    assert panel.ui.sampleButton.visible


def _map_of(scan, drawn):
    """A map of uncertainty in the scene, listed below the scan that it is about."""
    import slicer

    from MedLLMSegLib.slicer_bridge.scene.overlay import map_node, name_map

    unsure = slicer.mrmlScene.AddNode(map_node(np.ones((8, 9, 10), np.float32), scan))
    unsure.SetName("MRHead uncertainty")
    name_map(drawn("found", scan), unsure)
    return unsure


def _from_a_script(scan):
    import slicer

    slicer.mrmlScene.RemoveNode(scan)


def _in_the_data_module(scan):
    import slicer

    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), scan)  # as Slicer's desktop does
    assert hierarchy.RemoveItem(item)


def _with_what_belongs_to_it(scan):
    """Another module's observer removes the scan's display node as the scan is leaving."""
    import slicer
    import vtk

    display = scan.GetDisplayNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def follow(scene, event, node):
        if node is scan:
            scene.RemoveNode(display)

    scene = slicer.mrmlScene
    tag = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, follow)
    scene.RemoveNode(scan)
    scene.RemoveObserver(tag)


@pytest.mark.parametrize("delete", [_from_a_script, _in_the_data_module, _with_what_belongs_to_it])
def test_the_map_of_a_scan_that_is_deleted_is_not_the_next_input(panel, scan, drawn, delete):
    import slicer

    scan.CreateDefaultDisplayNodes()
    unsure = _map_of(scan, drawn)
    assert panel.parameters.inputVolume is scan
    delete(scan)
    assert unsure.GetScene() is not None
    assert panel.parameters.inputVolume is None
    assert panel.ui.inputVolumeSelector.currentNode() is None
    assert not panel.ui.segmentButton.enabled
    other = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4)), name="other")
    assert panel.parameters.inputVolume is other


def test_the_next_run_does_not_write_into_another_segmentation(panel, scan, drawn):
    """Something else may leave with the segmentation that was chosen as the output."""
    first, second, third = drawn("first", scan), drawn("second", scan), drawn("third", scan)
    second.CreateDefaultDisplayNodes()
    panel.ui.outputSegmentationSelector.setCurrentNode(second)
    _with_what_belongs_to_it(second)
    assert panel.parameters.outputSegmentation is None
    assert panel.ui.outputSegmentationSelector.currentNode() is None
    assert first.GetScene() is not None
    assert third.GetScene() is not None


def test_a_segmentation_that_nobody_chose_does_not_take_the_place_of_one_that_is_deleted(
    panel, scan, drawn
):
    """Slicer's selector goes to the row above, and the next run would write into what lies
    there.
    """
    import slicer

    first, second, third = drawn("first"), drawn("second"), drawn("third")
    panel.ui.outputSegmentationSelector.setCurrentNode(first)
    panel.ui.outputSegmentationSelector.setCurrentNode(second)
    slicer.mrmlScene.RemoveNode(first)  # chosen before
    assert panel.parameters.outputSegmentation is second
    panel.ui.outputSegmentationSelector.setCurrentNode(third)
    slicer.mrmlScene.RemoveNode(third)
    assert panel.parameters.outputSegmentation is None
    assert panel.ui.outputSegmentationSelector.currentNode() is None
    assert second.GetScene() is not None


def test_a_region_that_is_deleted_is_followed_by_no_other(panel, scan):
    import slicer

    first, second = (
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name) for name in "ab"
    )
    panel.ui.regionSelector.setCurrentNode(second)
    assert panel.parameters.regionOfInterest is second
    slicer.mrmlScene.RemoveNode(second)
    assert panel.parameters.regionOfInterest is None
    assert panel.ui.regionSelector.currentNode() is None
    assert panel.panel.region is None
    assert first.GetScene() is not None


def test_a_heat_map_of_a_colour_picture_is_not_taken_for_a_scan(panel):
    import slicer

    from MedLLMSegLib.core.volume import Volume
    from MedLLMSegLib.diagnosis.result import Diagnosis
    from MedLLMSegLib.slicer_bridge.logic.diagnosis_job import write_diagnosis
    from MedLLMSegLib.slicer_bridge.scene.flat_images import images_of

    picture = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "chest.png")
    slicer.util.updateVolumeFromArray(picture, np.zeros((1, 6, 8, 3), np.uint8))
    heat = Volume(np.zeros((1, 6, 8), np.float32), np.eye(4))
    found = Diagnosis(
        {"no": 0.2, "yes": 0.8}, "yes", 0.41, 0.78, heat, "yes", None, None, model="a model"
    )
    assert write_diagnosis(found, images_of(picture, "radiograph", "a model"))[1] is not None
    assert panel.parameters.inputVolume is None
    assert not panel.ui.segmentButton.enabled


def test_other_modules_nodes_cost_nothing(panel, module, monkeypatch):
    import slicer

    drawn_anew = []
    monkeypatch.setattr(
        module, "view", lambda state, view=module.view: drawn_anew.append(state) or view(state)
    )
    for n in range(20):
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", f"model {n}")
    assert not drawn_anew
    panel.exit()
    for n in range(5):
        slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name=f"scan {n}")
    assert not drawn_anew
    panel.enter()
    assert panel.panel.scans == 5
    assert panel.parameters.inputVolume.GetName() == "scan 0"
    slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState)
    drawn_anew.clear()
    slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="one of many")
    assert not drawn_anew
    slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState)
    assert panel.panel.scans == 6
