"""What a run does when the scene changes meanwhile."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from Testing.helpers.segmentation_jobs import (
    TURN,
    scene_contents,
    segment_centres,
    start_run,
)
from Testing.slicer_bridge.stand_in import (
    BALLS_RAS,
    in_stage,
    take_along,
)


def test_a_removed_scan_ends_the_run_and_the_work(scene, scan, logic, client):
    client.hold = "localize"
    job, told = start_run(logic, scan)
    take_along(logic, job, in_stage("localize"))
    scene.RemoveNode(scan)
    before = scene_contents(scene)
    take_along(logic, job)
    assert job.state == "cancelled"
    assert "removed" in job.message
    assert client.cancelled == [1]
    assert scene_contents(scene) == before
    assert told[-1] is job


@pytest.mark.parametrize("stage", ["start", "segment", "done"])
def test_closing_the_scene_while_it_runs(scene, scan, logic, client, stage):
    node = logic.segment(scan)
    client.hold = stage
    job, _ = start_run(logic, scan, segmentationNode=node)
    take_along(logic, job, in_stage(stage))
    scene.Clear(0)
    count = scene.GetNumberOfNodes()
    client.hold = None
    take_along(logic, job)
    assert job.state == "cancelled"
    assert scene.GetNumberOfNodes() == count
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert not logic.canRestore(node)


def test_a_deleted_output_is_made_anew(scene, scan, logic, client):
    gone = logic.segment(scan)
    client.hold = "segment"
    job, _ = start_run(logic, scan, segmentationNode=gone)
    take_along(logic, job, in_stage("segment"))
    scene.RemoveNode(gone)
    client.hold = None
    take_along(logic, job)
    assert job.state == "done"
    assert job.segmentationNode is not gone
    assert job.segmentationNode.GetScene() is scene


def test_renamed_nodes_keep_their_new_names(scene, scan, logic, client):
    node = logic.segment(scan)
    client.hold = "segment"
    job, _ = start_run(logic, scan, segmentationNode=node)
    other, _ = start_run(logic, scan)
    take_along(logic, job, in_stage("segment"))
    scan.SetName("patient 7")
    node.SetName("mine")
    client.hold = None
    take_along(logic, job)
    take_along(logic, other)
    assert node.GetName() == "mine"
    assert other.segmentationNode.GetName() == "patient 7 segmentation"


def test_a_scan_that_is_moved_meanwhile_takes_the_result_along(
    scene, scan, logic, client, add_transform
):
    client.hold = "segment"
    job, _ = start_run(logic, scan)
    take_along(logic, job, in_stage("segment"))
    scan.SetAndObserveTransformNodeID(add_transform(TURN).GetID())
    client.hold = None
    take_along(logic, job)
    for name, label in (("Left hippocampus (anterior)", 1), ("Right hippocampus (posterior)", 4)):
        moved = (TURN @ (*BALLS_RAS[label], 1))[:3]
        assert np.linalg.norm(segment_centres(job.segmentationNode)[name] - moved) < 2.5


def test_a_scan_that_was_exchanged_meanwhile_is_refused(scene, scan, logic, client):
    client.hold = "segment"
    job, _ = start_run(logic, scan)
    take_along(logic, job, in_stage("segment"))
    slicer.util.updateVolumeFromArray(scan, np.ones((3, 4, 5), np.int16))
    before, client.hold = scene_contents(scene), None
    take_along(logic, job)
    assert job.state == "failed"
    assert "was changed" in job.message
    assert scene_contents(scene) == before


def test_nothing_is_written_while_the_scene_is_being_loaded(scene, scan, logic):
    job, _ = start_run(logic, scan)
    take_along(logic, job, in_stage("done"))
    scene.StartState(scene.BatchProcessState)
    for _ in range(50):
        logic.poll()
    assert job.running
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    scene.EndState(scene.BatchProcessState)
    take_along(logic, job)
    assert job.state == "done"
