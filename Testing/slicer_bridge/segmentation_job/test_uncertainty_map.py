"""The map of uncertainty over the scan."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from Testing.helpers.segmentation_jobs import (
    TURN,
    scene_contents,
    start_run,
)
from Testing.slicer_bridge.stand_in import (
    BALLS_RAS,
    GRID,
    OBLIQUE,
    BallSegmenter,
    take_along,
)


def test_the_uncertainty_map_lies_over_the_scan(scene, scan, logic, add_transform):
    scan.SetAndObserveTransformNodeID(add_transform(TURN).GetID())
    views = [scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(3)]
    job, _ = start_run(logic, scan, uncertainty=True)
    take_along(logic, job)
    shown = logic.showUncertainty(job, scan)
    assert shown is job.uncertaintyNode is logic.showUncertainty(job.segmentationNode)
    assert shown.GetName() == "MRHead uncertainty"
    assert shown.GetTransformNodeID() == scan.GetTransformNodeID()
    array = slicer.util.arrayFromVolume(shown)
    assert array.shape == GRID
    assert array.dtype == np.float32
    assert array.max() == 0.5
    grids = [slicer.util.arrayFromVTKMatrix(_ijk_to_ras(node)) for node in (shown, scan)]
    np.testing.assert_allclose(*grids)
    display = shown.GetDisplayNode()
    assert display.GetLowerThreshold() > 0
    assert display.GetApplyThreshold()
    assert display.GetWindow() == 1
    assert scene.GetNodeByID(display.GetColorNodeID()) is not None
    assert {(v.GetBackgroundVolumeID(), v.GetForegroundVolumeID()) for v in views} == {
        (scan.GetID(), shown.GetID())
    }
    assert all(0 < v.GetForegroundOpacity() < 1 for v in views)
    logic.showUncertainty(job, show=False)
    assert {v.GetForegroundVolumeID() for v in views} == {None}


def test_the_users_own_foreground_comes_back_when_the_map_goes(scene, scan, logic, add_volume):
    other, third = (
        add_volume(np.ones(GRID), OBLIQUE, "PET"),
        add_volume(np.ones(GRID), OBLIQUE, "CT"),
    )
    red, green, yellow = (scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(3))
    for view, node, opacity in ((red, other, 0.3), (green, third, 1.0)):
        view.SetForegroundVolumeID(node.GetID())
        view.SetForegroundOpacity(opacity)
    yellow.SetForegroundOpacity(0.0)
    first, second = (logic.segment(scan, uncertainty=True) for _ in range(2))

    def shown():
        views = (red, green, yellow)
        return [(view.GetForegroundVolumeID(), view.GetForegroundOpacity()) for view in views]

    before = shown()
    for node in (first, first, second):  # twice, and one after another
        laid = logic.showUncertainty(node, scan)
    assert {name for name, _ in shown()} == {laid.GetID()}
    green.SetForegroundVolumeID(scan.GetID())  # the user's hand goes before ours
    logic.showUncertainty(second, show=False)
    assert shown() == [before[0], (scan.GetID(), shown()[1][1]), before[2]]
    logic.showUncertainty(second)
    scene.RemoveNode(other)
    logic.showUncertainty(second, show=False)
    assert red.GetForegroundVolumeID() is None
    assert green.GetForegroundVolumeID() == scan.GetID()


def _ijk_to_ras(node):
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_a_map_is_used_again_goes_with_its_run_and_comes_back_with_restore(
    scene, scan, logic, client
):
    node = logic.segment(scan, uncertainty=True)
    shown = logic.showUncertainty(node)
    first, count = slicer.util.arrayFromVolume(shown).copy(), scene.GetNumberOfNodes()
    client.segment = BallSegmenter(radius_mm=3)
    logic.segment(scan, node, uncertainty=True)
    assert logic.showUncertainty(node) is shown
    assert scene.GetNumberOfNodes() == count
    assert not np.array_equal(slicer.util.arrayFromVolume(shown), first)
    logic.restore(node)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown), first)
    logic.segment(scan, node)
    with pytest.raises(
        UserError, match="tick Uncertainty"
    ):  # an older run's map says nothing of this one
        logic.showUncertainty(node)


def test_a_failing_run_leaves_the_map_as_it_was(scene, scan, logic, monkeypatch):
    from MedLLMSegLib.slicer_bridge.scene import volume_nodes as nodes

    node = logic.segment(scan, uncertainty=True)
    shown, before = logic.showUncertainty(node), scene_contents(scene)
    first = slicer.util.arrayFromVolume(shown).copy()
    place = nodes.place_next_to
    monkeypatch.setattr(
        nodes, "place_next_to", lambda node, *more: 1 / 0 if more[1:] else place(node, *more)
    )
    for asked in (node, None):
        job, _ = start_run(logic, scan, segmentationNode=asked, uncertainty=True)
        take_along(logic, job)
        assert job.state == "failed"
        assert scene_contents(scene) == before
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(logic.showUncertainty(node)), first)


def test_the_slice_views_move_to_what_was_found(scene, add_volume):
    from MedLLMSegLib.slicer_bridge.scene.overlay import look_at

    view = slicer.vtkMRMLSliceNode()
    view.SetLayoutName("Red")
    view = scene.AddNode(view)
    scan = add_volume(np.zeros(GRID, np.int16), OBLIQUE)
    look_at(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty"))
    assert view.GetSliceToRAS().GetElement(2, 3) == 0
    look_at(SegmentationLogic(BallSegmenter()).segment(scan))
    assert view.GetSliceToRAS().GetElement(2, 3) == pytest.approx(
        BALLS_RAS[1][2], abs=2.4
    )  # mm; an axial view, thick slices
