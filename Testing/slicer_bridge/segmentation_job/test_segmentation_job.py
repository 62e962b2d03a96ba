"""A run that goes on while the user works, on real MRML nodes: its result, cancel and failure."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.logic import image_segmentation
from Testing.helpers.segmentation_jobs import (
    scene_contents,
    segment_centres,
    segment_contents,
    start_run,
)
from Testing.slicer_bridge.stand_in import (
    GRID,
    StandInClient,
    in_stage,
    take_along,
)


def test_a_run_returns_at_once_and_ends_in_a_node(scene, scan, logic):
    before = scene.GetNumberOfNodes()
    job, told = start_run(logic, scan)
    assert job.state == "running"
    assert not told
    assert scene.GetNumberOfNodes() == before
    take_along(logic, job, in_stage("segment"))
    assert scene.GetNumberOfNodes() == before  # nothing partial
    assert (job.stage, job.secondsLeft) == ("segment", 3.0)
    assert 0 < job.fraction < 1
    take_along(logic, job)
    assert job.state == "done"
    assert job.message == ""
    assert told[-1] is job
    assert told[0] == ("start", 0.0, 3.0)
    assert len(segment_centres(job.segmentationNode)) == 4
    assert job.segmentationNode.GetScene() is scene


def test_rows_and_notes_are_what_was_found(scan, logic):
    job, _ = start_run(logic, scan)
    take_along(logic, job)
    names = [name for name, _, _ in job.rows]
    assert names == [
        "Left hippocampus (anterior)",
        "Left hippocampus (posterior)",
        "Right hippocampus (anterior)",
        "Right hippocampus (posterior)",
    ]
    assert job.notes == ("A note.",)
    ball = 4 / 3 * np.pi * 5**3 / 1000
    assert all(abs(ml - ball) < 0.1 * ball for _, ml, _ in job.rows)
    assert [sure for *_, sure in job.rows] == [
        0.9,
        None,
        None,
        None,
    ]  # what is not known is not a number to show


@pytest.mark.parametrize("existing", [False, True], ids=["new node", "existing node"])
@pytest.mark.parametrize("stage", StandInClient.STAGES)
def test_cancel_in_every_stage_leaves_the_scene_as_it_was(
    scene, scan, logic, client, stage, existing
):
    node = logic.segment(scan, side="left") if existing else None
    before, client.hold = scene_contents(scene), stage
    job, told = start_run(logic, scan, segmentationNode=node)
    take_along(logic, job, in_stage(stage))
    logic.cancel(job)
    assert job.state == "cancelling"
    assert client.cancelled
    take_along(logic, job)
    assert job.state == "cancelled"
    assert job.message == ""
    assert told[-1] is job
    assert scene_contents(scene) == before
    logic.cancel(job)  # too late: nothing happens
    client.hold = None
    assert logic.segment(scan, node) is not None  # and the next press works


def test_cancel_before_anything_began(scene, scan, logic, client):
    before = scene_contents(scene)
    job, _ = start_run(logic, scan)
    logic.cancel(job)
    take_along(logic, job)
    assert job.state == "cancelled"
    assert not client.requests
    assert scene_contents(scene) == before


def test_cancel_while_the_result_is_being_read_or_arrives(scene, scan, logic, client):
    before = scene_contents(scene)
    job, _ = start_run(logic, scan)
    take_along(logic, job, in_stage("done"))
    logic.cancel(job)
    client.cancelled.clear()  # the worker was faster: its result comes all the same
    take_along(logic, job)
    assert job.state == "cancelled"
    assert scene_contents(scene) == before


def test_a_cancel_that_the_workers_result_overtakes_writes_nothing(
    scene, scan, logic, client, monkeypatch
):
    """Even if all that is left to do needs no waiting."""
    from MedLLMSegLib.slicer_bridge.logic.job_runner import JobRunner

    def at_once(self, function, *arguments, **options):
        return function(*arguments, **options)
        yield

    monkeypatch.setattr(JobRunner, "in_thread", at_once)
    before = scene_contents(scene)
    job, _ = start_run(logic, scan)
    take_along(logic, job, in_stage("done"))
    logic.cancel(job)
    client.cancelled.clear()
    take_along(logic, job)
    assert job.state == "cancelled"
    assert scene_contents(scene) == before


@pytest.mark.parametrize("existing", [False, True], ids=["new node", "existing node"])
@pytest.mark.parametrize(
    "kind, message", [("user", "No hippocampus was found."), ("unexpected", "The worker stopped.")]
)
def test_a_failure_is_one_sentence_and_leaves_the_scene_as_it_was(
    scene, scan, logic, client, kind, message, existing
):
    node = logic.segment(scan, side="left") if existing else None
    before, client.fails = (
        scene_contents(scene),
        {"kind": kind, "message": message, "details": "Traceback"},
    )
    job, told = start_run(logic, scan, segmentationNode=node)
    take_along(logic, job)
    assert (job.state, job.message) == ("failed", message)
    assert scene_contents(scene) == before
    assert told[-1] is job
    assert job.details == ("Traceback" if kind == "unexpected" else "")
    client.fails = None
    assert logic.segment(scan, node) is not None


def test_a_failure_while_writing_leaves_the_scene_as_it_was(scene, scan, logic, monkeypatch):
    from MedLLMSegLib.slicer_bridge.scene import volume_nodes as nodes

    node = logic.segment(scan, side="left")
    before = scene_contents(scene)
    for asked in (None, node):
        monkeypatch.setattr(nodes, "write_uncertainty", lambda *arguments: 1 / 0)
        job, _ = start_run(logic, scan, segmentationNode=asked)
        take_along(logic, job)
        assert job.state == "failed"
        assert "ZeroDivisionError" in job.message
        assert "Traceback" in job.details
        assert scene_contents(scene) == before


def test_what_is_no_scan_fails_at_once(scene, logic, client):
    job, _ = start_run(logic, None)
    take_along(logic, job)
    assert job.state == "failed"
    assert "choose it as the input" in job.message
    assert not client.requests


def test_other_segments_stay_with_their_places(scene, scan, logic):
    node = logic.segment(scan, side="left")
    mine = node.GetSegmentation().AddEmptySegment("mine", "tumour")
    mask = np.zeros(GRID, np.uint8)
    mask[2:4, 5:9, 6:12] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, mine, scan)
    before = segment_contents(node)
    logic.segment(scan, node)
    assert segment_contents(node)[mine] == before[mine]
    assert len(segment_contents(node)) == 5
    np.testing.assert_array_equal(
        slicer.util.arrayFromSegmentBinaryLabelmap(node, mine, scan), mask
    )


def test_an_engine_reaches_the_worker_and_the_result_says_so(scan, logic, client, monkeypatch):
    monkeypatch.setattr(image_segmentation, "missing_packages", lambda engine: ())
    job, _ = start_run(logic, scan, engine="openvino")
    take_along(logic, job)
    assert client.requests[0][1]["engine"] == "openvino"
    assert job.notes[0] == "A note."
    assert job.notes[1].startswith("Computed by openvino")
    job, _ = start_run(logic, scan, engine="torch")
    take_along(logic, job)
    assert "engine" not in client.requests[1][1]
    assert job.notes == ("A note.",)


def test_an_engine_that_slicer_lacks_is_one_sentence(scene, scan, logic, client, monkeypatch):
    monkeypatch.setattr(image_segmentation, "missing_packages", lambda engine: ("openvino", "onnx"))
    before = scene_contents(scene)
    job, _ = start_run(logic, scan, engine="openvino")
    take_along(logic, job)
    assert job.state == "failed"
    assert 'run slicer.util.pip_install("openvino onnx") in the Python console' in job.message
    assert not client.requests and scene_contents(scene) == before
    with pytest.raises(UserError, match='"tvm" is not an engine'):
        logic.segment(scan, engine="tvm")
