"""The logic from a volume node to a segmentation node, with a stand-in for the network, and out
to a file and back.
"""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from Testing.slicer_bridge.stand_in import (
    BALLS_RAS,
    GRID,
    OBLIQUE,
    RADIUS_MM,
    BallSegmenter,
    StandInClient,
)


@pytest.fixture
def scan(add_volume):
    """A volume whose grid, oblique and left-handed, holds all four balls."""
    return add_volume(
        np.random.default_rng(0).integers(0, 400, GRID).astype(np.int16), OBLIQUE, "MRHead"
    )


def _centres_in_world(node):
    return {
        node.GetSegmentation().GetSegment(i).GetName(): np.array(node.GetSegmentCenterRAS(i))
        for i in node.GetSegmentation().GetSegmentIDs()
    }


@pytest.mark.parametrize("moved", [False, True], ids=["no transform", "under a transform"])
def test_shapes_of_the_world_are_found_at_their_place_in_the_world(scan, add_transform, moved):
    if moved:
        turn = np.array([[0.98, -0.17, 0, 3], [0.17, 0.98, 0, -2], [0, 0, 1, 1.5], [0, 0, 0, 1]])
        scan.SetAndObserveTransformNodeID(add_transform(turn).GetID())
    segmenter = BallSegmenter()
    node = SegmentationLogic(segmenter).segment(scan)
    centres = _centres_in_world(node)  # by Slicer's own reckoning
    assert len(centres) == 4
    for structure in hippocampus_structures(lateral=True):
        segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(structure.name)
        array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, scan)
        points = transform_points(segmenter.volume.ijk_to_ras, np.argwhere(array)[:, ::-1])
        assert (
            np.linalg.norm(centres[structure.name] - BALLS_RAS[structure.label]) < 2.5
        )  # a slice is 2.5 mm thick
        assert np.linalg.norm(points - BALLS_RAS[structure.label], axis=1).max() <= RADIUS_MM + 1e-6


def test_options_reach_the_segmenter_and_its_result_is_kept(scan):
    segmenter, seen = BallSegmenter(), []
    logic = SegmentationLogic(segmenter)
    assert logic.result is None
    logic.segment(
        scan, model="other", side="left", device="cpu", progress=lambda *step: seen.append(step)
    )
    assert segmenter.options == {"model": "other", "device": "cpu", "side": "left"}
    assert segmenter.volume.name == "MRHead"
    assert seen == [("segment", 0.5)]
    assert set(logic.result.volumes_ml) == {
        "left_anterior",
        "left_posterior",
        "right_anterior",
        "right_posterior",
    }


def test_one_side_alone_replaces_nothing_on_the_other(scan):
    logic = SegmentationLogic(BallSegmenter())
    node = logic.segment(scan)
    before = _centres_in_world(node)
    logic.segment(scan, node, side="left")
    np.testing.assert_equal(_centres_in_world(node), before)
    alone = logic.segment(scan, side="left")
    assert list(_centres_in_world(alone)) == [
        "Left hippocampus (anterior)",
        "Left hippocampus (posterior)",
    ]


def test_a_second_run_updates_the_node_that_it_is_given(scene, scan):
    logic = SegmentationLogic(BallSegmenter())
    first = logic.segment(scan)
    count = scene.GetNumberOfNodes()
    assert logic.segment(scan, first) is first
    assert scene.GetNumberOfNodes() == count
    assert logic.segment(scan) is not first


@pytest.mark.parametrize(
    "error",
    [UserError("No hippocampus was found."), Cancelled(), MemoryError()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("existing", [False, True])
def test_a_failing_run_leaves_the_scene_as_it_was(scene, scan, error, existing):
    node = SegmentationLogic(BallSegmenter()).segment(scan) if existing else None
    before, logic = scene.GetNumberOfNodes(), SegmentationLogic(BallSegmenter(fails=error))
    centres = _centres_in_world(node) if existing else None
    with pytest.raises(type(error)):
        logic.segment(scan, node)
    assert scene.GetNumberOfNodes() == before
    assert logic.result is None
    if existing:
        np.testing.assert_equal(_centres_in_world(node), centres)


def test_without_a_stand_in_it_is_the_worker_that_segments(scan):
    clients = []
    logic = SegmentationLogic(makeClient=lambda: clients.append(StandInClient()) or clients[0])
    node = logic.segment(scan, side="left", device="cpu")
    assert len(_centres_in_world(node)) == 2
    ((do, asked),) = clients[0].requests
    assert do == "segment"
    assert (asked["model"], asked["side"], asked["device"]) == (
        DEFAULT_SEGMENTER,
        "left",
        "cpu",
    )
    logic.segment(scan)
    # it stays warm
    assert len(clients) == 1
    assert len(clients[0].requests) == 2
    logic.close()
    assert clients[0].closed


def test_what_no_model_can_segment_is_said_before_a_worker_is_started(scene, add_volume):
    flat = add_volume(np.full((8, 9, 10), 5, np.int16), name="flat")
    before = scene.GetNumberOfNodes()
    with pytest.raises(UserError, match="same value"):
        SegmentationLogic(makeClient=lambda: pytest.fail("a worker was started")).segment(flat)
    assert scene.GetNumberOfNodes() == before


def test_cancelling_from_the_progress_callback(scene, scan):
    def cancel(stage, fraction):
        raise Cancelled

    before = scene.GetNumberOfNodes()
    with pytest.raises(Cancelled):
        SegmentationLogic(BallSegmenter()).segment(scan, progress=cancel)
    assert scene.GetNumberOfNodes() == before


def test_a_scan_that_is_removed_while_it_is_segmented(scene, scan):
    with pytest.raises(UserError, match="removed"):
        SegmentationLogic(BallSegmenter()).segment(
            scan, progress=lambda *step: scene.RemoveNode(scan)
        )
    assert scene.GetNodesByClass("vtkMRMLSegmentationNode").GetNumberOfItems() == 0


def test_an_output_that_is_removed_meanwhile_is_made_anew(scene, scan):
    logic = SegmentationLogic(BallSegmenter())
    gone = logic.segment(scan)
    node = logic.segment(scan, gone, progress=lambda *step: scene.RemoveNode(gone))
    assert node is not gone
    assert node.GetScene() is scene
    assert len(_centres_in_world(node)) == 4


def test_written_by_slicer_as_seg_nrrd_and_read_back(scene, scan, tmp_path):
    node = SegmentationLogic(BallSegmenter()).segment(scan)
    path = tmp_path / "MRHead.seg.nrrd"
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(path))
    assert node.GetStorageNode().WriteData(node)
    read = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "read")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(read)
    segments, original = read.GetSegmentation(), node.GetSegmentation()
    assert segments.GetSegmentIDs() == original.GetSegmentIDs()
    for segment_id in segments.GetSegmentIDs():
        new, old = segments.GetSegment(segment_id), original.GetSegment(segment_id)
        assert new.GetName() == old.GetName()
        np.testing.assert_allclose(new.GetColor(), old.GetColor(), atol=1e-4)
        assert _tags(new) == _tags(old)
        assert "Hippocampus" in _tags(new)[old.GetTerminologyEntryTagName()]
        np.testing.assert_array_equal(
            slicer.util.arrayFromSegmentBinaryLabelmap(read, segment_id, scan),
            slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, scan),
        )


def _tags(segment):
    from MedLLMSegLib.slicer_bridge.scene import segments

    return {
        name: segments.tag(segment, name)
        for name in (
            segments.STRUCTURE_TAG,
            segments.MODEL_TAG,
            segment.GetTerminologyEntryTagName(),
        )
    }
