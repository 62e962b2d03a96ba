"""Restore brings back what a run overwrote."""

import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
from MedLLMSegLib.core.errors import UserError
from Testing.helpers.segmentation_jobs import TURN, segment_contents, start_run
from Testing.slicer_bridge.stand_in import (
    BallSegmenter,
    take_along,
)


def test_restore_brings_back_what_was_overwritten_and_again_what_was_restored(
    scene, scan, logic, client
):
    node = logic.segment(scan)
    assert not logic.canRestore(node)  # nothing was overwritten
    client.segment = BallSegmenter(radius_mm=3, balls=(1,))
    first = segment_contents(node)
    logic.segment(scan, node)
    second, count = segment_contents(node), scene.GetNumberOfNodes()
    assert second != first
    assert logic.canRestore(node)
    logic.restore(node)
    assert segment_contents(node) == first
    logic.restore(node)
    assert segment_contents(node) == second
    logic.restore(node)
    assert segment_contents(node) == first
    assert scene.GetNumberOfNodes() == count


def test_restore_brings_back_the_users_edits_and_the_transform(scene, scan, logic, add_transform):
    node = logic.segment(scan)
    segment = node.GetSegmentation().GetNthSegment(0)
    segment.SetName("edited")
    scan.SetAndObserveTransformNodeID(add_transform(TURN).GetID())
    logic.segment(scan, node)
    assert node.GetTransformNodeID() == scan.GetTransformNodeID()
    logic.restore(node)
    assert node.GetSegmentation().GetNthSegment(0).GetName() == "edited"
    assert node.GetTransformNodeID() is None


def test_only_the_last_run_is_kept_and_not_beyond_the_node(scene, scan, logic, client):
    node = logic.segment(scan)
    for radius in (4, 3):
        client.segment = BallSegmenter(radius_mm=radius)
        last = segment_contents(node)
        logic.segment(scan, node)
    logic.restore(node)
    assert segment_contents(node) == last
    scene.RemoveNode(node)
    assert not logic.canRestore(node)
    with pytest.raises(UserError, match="no earlier segmentation"):
        logic.restore(node)
    assert not logic.canRestore(None)


def test_a_cancelled_run_keeps_what_the_run_before_it_overwrote(scene, scan, logic, client):
    node = logic.segment(scan)
    client.segment = BallSegmenter(radius_mm=3)
    first = segment_contents(node)
    logic.segment(scan, node)
    job, _ = start_run(logic, scan, segmentationNode=node)
    logic.cancel(job)
    take_along(logic, job)
    logic.restore(node)
    assert segment_contents(node) == first
