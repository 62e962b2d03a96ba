"""No test finds in the scene what another one left there."""

import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from Testing.helpers.empty_scene import empty_scene


def test_views_and_parameters_go_and_slicers_own_tables_stay(scene):
    tables = scene.GetNumberOfNodesByClass("vtkMRMLColorNode")
    for kind in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode", "vtkMRMLScriptedModuleNode"):
        node = getattr(slicer, kind)()
        node.SetSingletonTag("Red")
        if kind == "vtkMRMLSliceNode":
            node.SetLayoutName("Red")
        scene.AddNode(node)
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    empty_scene(scene)
    for kind in ("SliceNode", "SliceCompositeNode", "ScriptedModuleNode", "ScalarVolumeNode"):
        assert scene.GetNumberOfNodesByClass(f"vtkMRML{kind}") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLColorNode") == tables > 0


def test_the_scene_is_slicers(scene):
    """Also after tests of the panel in the same process."""
    assert slicer.mrmlScene is scene
