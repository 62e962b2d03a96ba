"""A result that cannot be written leaves the scene as it was."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer
import vtk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.scene import segments
from MedLLMSegLib.slicer_bridge.scene import volume_nodes as nodes
from Testing.helpers.scene_nodes import (
    MOVED,
    SHAPE,
    add_user_segment,
    display_values,
    place_in_folders,
    restyle,
    result_on,
    segment_names,
    two_sided_labels,
    world_points,
    write_result,
)


def scene_state(scene):
    """All that a user could notice of a scene: nodes, segments, their voxels, transforms, places
    in the hierarchy.
    """
    hierarchy = scene.GetSubjectHierarchyNode()
    state = [hierarchy.GetNumberOfItems()]
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        item = hierarchy.GetItemByDataNode(node)
        state.append(
            (node.GetID(), node.GetName(), hierarchy.GetItemParent(item) if item else None)
        )
        if node.IsA("vtkMRMLSegmentationNode"):
            role = node.GetReferenceImageGeometryReferenceRole()
            state.append((node.GetTransformNodeID(), node.GetNodeReferenceID(role)))
            state += [display_values(node)] if node.GetDisplayNode() else []
            state += [
                (n, len(world_points(node, n)), tuple(np.round(world_points(node, n).mean(0), 3)))
                for n in segment_names(node)
            ]
    return state


@pytest.mark.parametrize(
    "file, step",
    [
        ("nodes", "set_segments"),
        ("nodes", "place_next_to"),
        ("segments", "_labelmap"),
        ("segments", "_segment"),
    ],
)
@pytest.mark.parametrize("target", ["new", "empty", "with segments"])
def test_a_failure_leaves_the_scene_as_it_was(
    scene, scan, add_transform, monkeypatch, file, step, target
):
    from MedLLMSegLib.slicer_bridge.scene import segments

    module = {"nodes": nodes, "segments": segments}[file]
    node = None
    if target != "new":
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    if target == "with segments":
        write_result(scan, node)
        add_user_segment(node, scan, "lesion", two_sided_labels() == 1)
        restyle(node)
    place_in_folders(scene, scan, "study")
    scan.SetAndObserveTransformNodeID(add_transform(MOVED).GetID())
    before, real = scene_state(scene), getattr(module, step)

    def fails_at_its_end(*args):
        real(*args)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(module, step, fails_at_its_end)
    with pytest.raises(RuntimeError, match="out of memory"):
        write_result(scan, node, labels=np.roll(two_sided_labels(), 1, axis=0))
    assert scene_state(scene) == before


def test_an_empty_result_is_refused(scene, scan):
    before = scene_state(scene)
    with pytest.raises(UserError, match="Nothing was found"):
        write_result(scan, labels=np.zeros(SHAPE, np.uint8))
    assert scene_state(scene) == before


def test_a_scan_that_was_removed_or_changed_meanwhile_is_refused(scene, scan):
    result = result_on(nodes.read_volume(scan))
    slicer.util.updateVolumeFromArray(scan, np.zeros((3, 4, 5), np.int16))
    with pytest.raises(UserError, match="was changed"):
        nodes.write_drawing(segments.draw(result), scan)
    scan.SetAndObserveImageData(None)
    with pytest.raises(UserError, match="was changed"):
        nodes.write_drawing(segments.draw(result), scan)
    scene.RemoveNode(scan)
    with pytest.raises(UserError, match="was removed"):
        nodes.write_drawing(segments.draw(result), scan)


def test_surfaces_are_not_overwritten(scene, scan):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "from STL")
    node.SetSourceRepresentationToClosedSurface()
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "sphere")
    with pytest.raises(UserError, match="made of surfaces"):
        write_result(scan, node)
    assert segment_names(node) == ["sphere"]
    assert node.GetSegmentation().GetSourceRepresentationName() == "Closed surface"
