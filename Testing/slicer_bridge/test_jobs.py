"""Runs that go on while the user works: what poll, cancel, failure and a changing scene do to
real MRML nodes.
"""

import gc
import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from Testing.slicer_bridge.stand_in import (
    BALLS_RAS,
    GRID,
    OBLIQUE,
    BallSegmenter,
    StandInClient,
    in_stage,
    take_along,
)

TURN = np.array([[0.98, -0.17, 0, 3], [0.17, 0.98, 0, -2], [0, 0, 1, 1.5], [0, 0, 0, 1]])


@pytest.fixture
def scan(add_volume):
    return add_volume(
        np.random.default_rng(0).integers(0, 400, GRID).astype(np.int16), OBLIQUE, "MRHead"
    )


@pytest.fixture
def client():
    return StandInClient()


@pytest.fixture
def logic(client, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    logic = SegmentationLogic(makeClient=lambda: client)
    yield logic
    logic.close()
    assert not list(tmp_path.glob("MedLLMSeg-*")), "temporary folders were left behind"


def picture(scene):
    """All nodes, the contents of the segmentations among them, and the subject hierarchy."""
    hierarchy, nodes = scene.GetSubjectHierarchyNode(), []
    for n in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(n)
        nodes.append((node.GetID(), node.GetName()))
        if node.IsA("vtkMRMLSegmentationNode"):
            nodes.append(
                (contents(node), node.GetTransformNodeID(), hierarchy.GetItemByDataNode(node))
            )
    return nodes


def contents(node):
    """Segment id -> (name, voxels in its own box)."""
    segments = node.GetSegmentation()
    found = {}
    for segment_id in segments.GetSegmentIDs():
        image = segments.GetSegment(segment_id).GetRepresentation("Binary labelmap")
        array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment_id)
        found[segment_id] = (
            segments.GetSegment(segment_id).GetName(),
            image.GetExtent(),
            int((array == segments.GetSegment(segment_id).GetLabelValue()).sum()),
        )
    return found


def centres(node):
    return {
        node.GetSegmentation().GetSegment(i).GetName(): np.array(node.GetSegmentCenterRAS(i))
        for i in node.GetSegmentation().GetSegmentIDs()
    }


def start(logic, scan, **options):
    """(job, what its callbacks were told)"""
    told = []
    job = logic.segmentAsync(
        scan, lambda *how: told.append(how), lambda job: told.append(job), **options
    )
    return job, told


def test_a_run_returns_at_once_and_ends_in_a_node(scene, scan, logic):
    before = scene.GetNumberOfNodes()
    job, told = start(logic, scan)
    assert job.state == "running" and not told and scene.GetNumberOfNodes() == before
    take_along(logic, job, in_stage("segment"))
    assert scene.GetNumberOfNodes() == before  # nothing partial
    assert (job.stage, job.secondsLeft) == ("segment", 3.0) and 0 < job.fraction < 1
    take_along(logic, job)
    assert (
        job.state == "done"
        and job.message == ""
        and told[-1] is job
        and told[0] == ("start", 0.0, 3.0)
    )
    assert len(centres(job.segmentationNode)) == 4 and job.segmentationNode.GetScene() is scene


def test_rows_and_notes_are_what_was_found(scan, logic):
    job, _ = start(logic, scan)
    take_along(logic, job)
    names = [name for name, _, _ in job.rows]
    assert names == [
        "Left hippocampus (anterior)",
        "Left hippocampus (posterior)",
        "Right hippocampus (anterior)",
        "Right hippocampus (posterior)",
    ] and job.notes == ("A note.",)
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
    before, client.hold = picture(scene), stage
    job, told = start(logic, scan, segmentationNode=node)
    take_along(logic, job, in_stage(stage))
    logic.cancel(job)
    assert job.state == "cancelling" and client.cancelled
    take_along(logic, job)
    assert (
        job.state == "cancelled"
        and job.message == ""
        and told[-1] is job
        and picture(scene) == before
    )
    logic.cancel(job)  # too late: nothing happens
    client.hold = None
    assert logic.segment(scan, node) is not None  # and the next press works


def test_cancel_before_anything_began(scene, scan, logic, client):
    before = picture(scene)
    job, _ = start(logic, scan)
    logic.cancel(job)
    take_along(logic, job)
    assert job.state == "cancelled" and not client.requests and picture(scene) == before


def test_cancel_while_the_result_is_being_read_or_arrives(scene, scan, logic, client):
    before = picture(scene)
    job, _ = start(logic, scan)
    take_along(logic, job, in_stage("done"))
    logic.cancel(job)
    client.cancelled.clear()  # the worker was faster: its result comes all the same
    take_along(logic, job)
    assert job.state == "cancelled" and picture(scene) == before


def test_a_cancel_that_the_workers_result_overtakes_writes_nothing(
    scene, scan, logic, client, monkeypatch
):
    """Even if all that is left to do needs no waiting."""
    from MedLLMSegLib.slicer_bridge.logic.job_runner import JobRunner

    def at_once(self, function, *arguments, **options):
        return function(*arguments, **options)
        yield

    monkeypatch.setattr(JobRunner, "in_thread", at_once)
    before = picture(scene)
    job, _ = start(logic, scan)
    take_along(logic, job, in_stage("done"))
    logic.cancel(job)
    client.cancelled.clear()
    take_along(logic, job)
    assert job.state == "cancelled" and picture(scene) == before


@pytest.mark.parametrize("existing", [False, True], ids=["new node", "existing node"])
@pytest.mark.parametrize(
    "kind, message", [("user", "No hippocampus was found."), ("unexpected", "The worker stopped.")]
)
def test_a_failure_is_one_sentence_and_leaves_the_scene_as_it_was(
    scene, scan, logic, client, kind, message, existing
):
    node = logic.segment(scan, side="left") if existing else None
    before, client.fails = (
        picture(scene),
        {"kind": kind, "message": message, "details": "Traceback"},
    )
    job, told = start(logic, scan, segmentationNode=node)
    take_along(logic, job)
    assert (
        (job.state, job.message) == ("failed", message)
        and picture(scene) == before
        and told[-1] is job
    )
    assert job.details == ("Traceback" if kind == "unexpected" else "")
    client.fails = None
    assert logic.segment(scan, node) is not None


def test_a_failure_while_writing_leaves_the_scene_as_it_was(scene, scan, logic, monkeypatch):
    from MedLLMSegLib.slicer_bridge.scene import volume_nodes as nodes

    node = logic.segment(scan, side="left")
    before = picture(scene)
    for asked in (None, node):
        monkeypatch.setattr(nodes, "write_uncertainty", lambda *arguments: 1 / 0)
        job, _ = start(logic, scan, segmentationNode=asked)
        take_along(logic, job)
        assert (
            job.state == "failed"
            and "ZeroDivisionError" in job.message
            and "Traceback" in job.details
        )
        assert picture(scene) == before


def test_what_is_no_scan_fails_at_once(scene, logic, client):
    job, _ = start(logic, None)
    take_along(logic, job)
    assert job.state == "failed" and "choose it as the input" in job.message and not client.requests


def test_a_removed_scan_ends_the_run_and_the_work(scene, scan, logic, client):
    client.hold = "localize"
    job, told = start(logic, scan)
    take_along(logic, job, in_stage("localize"))
    scene.RemoveNode(scan)
    before = picture(scene)
    take_along(logic, job)
    assert (
        job.state == "cancelled"
        and "removed" in job.message
        and client.cancelled == [1]
        and picture(scene) == before
    )
    assert told[-1] is job


@pytest.mark.parametrize("stage", ["start", "segment", "done"])
def test_closing_the_scene_while_it_runs(scene, scan, logic, client, stage):
    node = logic.segment(scan)
    client.hold = stage
    job, _ = start(logic, scan, segmentationNode=node)
    take_along(logic, job, in_stage(stage))
    scene.Clear(0)
    count = scene.GetNumberOfNodes()
    client.hold = None
    take_along(logic, job)
    assert job.state == "cancelled" and scene.GetNumberOfNodes() == count
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert not logic.canRestore(node)


def test_a_deleted_output_is_made_anew(scene, scan, logic, client):
    gone = logic.segment(scan)
    client.hold = "segment"
    job, _ = start(logic, scan, segmentationNode=gone)
    take_along(logic, job, in_stage("segment"))
    scene.RemoveNode(gone)
    client.hold = None
    take_along(logic, job)
    assert (
        job.state == "done"
        and job.segmentationNode is not gone
        and job.segmentationNode.GetScene() is scene
    )


def test_renamed_nodes_keep_their_new_names(scene, scan, logic, client):
    node = logic.segment(scan)
    client.hold = "segment"
    job, _ = start(logic, scan, segmentationNode=node)
    other, _ = start(logic, scan)
    take_along(logic, job, in_stage("segment"))
    scan.SetName("patient 7")
    node.SetName("mine")
    client.hold = None
    take_along(logic, job)
    take_along(logic, other)
    assert node.GetName() == "mine" and other.segmentationNode.GetName() == "patient 7 segmentation"


def test_a_scan_that_is_moved_meanwhile_takes_the_result_along(
    scene, scan, logic, client, add_transform
):
    client.hold = "segment"
    job, _ = start(logic, scan)
    take_along(logic, job, in_stage("segment"))
    scan.SetAndObserveTransformNodeID(add_transform(TURN).GetID())
    client.hold = None
    take_along(logic, job)
    for name, label in (("Left hippocampus (anterior)", 1), ("Right hippocampus (posterior)", 4)):
        moved = (TURN @ (*BALLS_RAS[label], 1))[:3]
        assert np.linalg.norm(centres(job.segmentationNode)[name] - moved) < 2.5


def test_a_scan_that_was_exchanged_meanwhile_is_refused(scene, scan, logic, client):
    client.hold = "segment"
    job, _ = start(logic, scan)
    take_along(logic, job, in_stage("segment"))
    slicer.util.updateVolumeFromArray(scan, np.ones((3, 4, 5), np.int16))
    before, client.hold = picture(scene), None
    take_along(logic, job)
    assert job.state == "failed" and "was changed" in job.message and picture(scene) == before


def test_nothing_is_written_while_the_scene_is_being_loaded(scene, scan, logic):
    job, _ = start(logic, scan)
    take_along(logic, job, in_stage("done"))
    scene.StartState(scene.BatchProcessState)
    for _ in range(50):
        logic.poll()
    assert job.running and scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    scene.EndState(scene.BatchProcessState)
    take_along(logic, job)
    assert job.state == "done"


def test_other_segments_stay_with_their_places(scene, scan, logic):
    node = logic.segment(scan, side="left")
    mine = node.GetSegmentation().AddEmptySegment("mine", "tumour")
    mask = np.zeros(GRID, np.uint8)
    mask[2:4, 5:9, 6:12] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, mine, scan)
    before = contents(node)
    logic.segment(scan, node)
    assert contents(node)[mine] == before[mine] and len(contents(node)) == 5
    np.testing.assert_array_equal(
        slicer.util.arrayFromSegmentBinaryLabelmap(node, mine, scan), mask
    )


# restore


def test_restore_brings_back_what_was_overwritten_and_again_what_was_restored(
    scene, scan, logic, client
):
    node = logic.segment(scan)
    assert not logic.canRestore(node)  # nothing was overwritten
    client.segment = BallSegmenter(radius_mm=3, balls=(1,))
    first = contents(node)
    logic.segment(scan, node)
    second, count = contents(node), scene.GetNumberOfNodes()
    assert second != first and logic.canRestore(node)
    logic.restore(node)
    assert contents(node) == first
    logic.restore(node)
    assert contents(node) == second
    logic.restore(node)
    assert contents(node) == first and scene.GetNumberOfNodes() == count


def test_restore_brings_back_the_users_edits_and_the_transform(scene, scan, logic, add_transform):
    node = logic.segment(scan)
    segment = node.GetSegmentation().GetNthSegment(0)
    segment.SetName("edited")
    scan.SetAndObserveTransformNodeID(add_transform(TURN).GetID())
    logic.segment(scan, node)
    assert node.GetTransformNodeID() == scan.GetTransformNodeID()
    logic.restore(node)
    assert (
        node.GetSegmentation().GetNthSegment(0).GetName() == "edited"
        and node.GetTransformNodeID() is None
    )


def test_only_the_last_run_is_kept_and_not_beyond_the_node(scene, scan, logic, client):
    node = logic.segment(scan)
    for radius in (4, 3):
        client.segment = BallSegmenter(radius_mm=radius)
        last = contents(node)
        logic.segment(scan, node)
    logic.restore(node)
    assert contents(node) == last
    scene.RemoveNode(node)
    assert not logic.canRestore(node)
    with pytest.raises(UserError, match="no earlier segmentation"):
        logic.restore(node)
    assert not logic.canRestore(None)


def test_a_cancelled_run_keeps_what_the_run_before_it_overwrote(scene, scan, logic, client):
    node = logic.segment(scan)
    client.segment = BallSegmenter(radius_mm=3)
    first = contents(node)
    logic.segment(scan, node)
    job, _ = start(logic, scan, segmentationNode=node)
    logic.cancel(job)
    take_along(logic, job)
    logic.restore(node)
    assert contents(node) == first


# uncertainty


def test_the_uncertainty_map_lies_over_the_scan(scene, scan, logic, add_transform):
    scan.SetAndObserveTransformNodeID(add_transform(TURN).GetID())
    views = [scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(3)]
    job, _ = start(logic, scan, uncertainty=True)
    take_along(logic, job)
    shown = logic.showUncertainty(job, scan)
    assert shown is job.uncertaintyNode is logic.showUncertainty(job.segmentationNode)
    assert (
        shown.GetName() == "MRHead uncertainty"
        and shown.GetTransformNodeID() == scan.GetTransformNodeID()
    )
    array = slicer.util.arrayFromVolume(shown)
    assert array.shape == GRID and array.dtype == np.float32 and array.max() == 0.5
    grids = [slicer.util.arrayFromVTKMatrix(_ijk_to_ras(node)) for node in (shown, scan)]
    np.testing.assert_allclose(*grids)
    display = shown.GetDisplayNode()
    assert (
        display.GetLowerThreshold() > 0 and display.GetApplyThreshold() and display.GetWindow() == 1
    )
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
    shown = lambda: [
        (view.GetForegroundVolumeID(), view.GetForegroundOpacity()) for view in (red, green, yellow)
    ]
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
    assert red.GetForegroundVolumeID() is None and green.GetForegroundVolumeID() == scan.GetID()


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
    assert logic.showUncertainty(node) is shown and scene.GetNumberOfNodes() == count
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
    shown, before = logic.showUncertainty(node), picture(scene)
    first = slicer.util.arrayFromVolume(shown).copy()
    place = nodes.place_next_to
    monkeypatch.setattr(
        nodes, "place_next_to", lambda node, *more: 1 / 0 if more[1:] else place(node, *more)
    )
    for asked in (node, None):
        job, _ = start(logic, scan, segmentationNode=asked, uncertainty=True)
        take_along(logic, job)
        assert job.state == "failed" and picture(scene) == before
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(logic.showUncertainty(node)), first)


# several runs, callbacks, the end


def test_two_runs_at_once_end_in_two_nodes(scene, scan, logic):
    one, two = start(logic, scan, side="left")[0], start(logic, scan, side="right")[0]
    take_along(logic, one)
    take_along(logic, two)
    assert all("Left" in name for name in centres(one.segmentationNode))
    assert all("Right" in name for name in centres(two.segmentationNode))


def test_callbacks_may_poll_cancel_start_again_and_fail(scene, scan, logic, capsys):
    again = []

    def progress(stage, fraction, secondsLeft):
        logic.poll()  # what processEvents does in Slicer when its timer is due
        if stage == "localize":
            raise Cancelled
        if stage == "read":
            raise ValueError("a mistake in somebody's script")

    job = logic.segmentAsync(scan, progress, lambda job: again.append(logic.segmentAsync(scan)))
    take_along(logic, job)
    assert job.state == "cancelled" and "a mistake in somebody's script" in capsys.readouterr().err
    assert take_along(logic, again[0]).state == "done"


def test_the_blocking_call_can_be_interrupted(scene, scan, logic, client):
    before = picture(scene)

    def interrupt(stage, fraction):
        if stage == "load":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logic.segment(scan, progress=interrupt)
    logic.poll()  # the worker lets go
    assert client.cancelled == [1] and picture(scene) == before


def test_polling_starts_with_the_first_job_and_stops_with_the_last(scan, client):
    class Polled(SegmentationLogic):
        calls = ""

        def _startPolling(self):
            self.calls += "start "

        def _stopPolling(self):
            self.calls += "stop "

    logic = Polled(makeClient=lambda: client)
    job = logic.segmentAsync(scan)
    assert logic.calls == "start "
    take_along(logic, job)
    assert logic.calls == "start stop "
    logic.close()


def test_closing_the_logic_ends_jobs_and_worker_and_calls_nobody(
    scene, scan, client, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, client.hold = picture(scene), "segment"
    logic = SegmentationLogic(makeClient=lambda: client)
    job, told = start(logic, scan)
    take_along(logic, job, in_stage("segment"))
    told.clear()
    logic.close()
    logic.poll()
    logic.cancel(job)
    assert job.state == "cancelled" and client.closed and client.cancelled == [1] and not told
    assert picture(scene) == before and not list(tmp_path.iterdir())
    logic.close()


def test_slicer_itself_never_imports_torch():
    """The worker's process does; Slicer's own must not, as its packages may be exchanged while
    it runs.
    """
    import subprocess
    import sys

    code = (
        "import sys, slicer, slicer.util\nfrom MedLLMSegLib.slicer_bridge.logic import"
        " module_logic, services, training_job, copyable_calls\nfrom"
        " MedLLMSegLib.slicer_bridge.install import packages\nfrom"
        " MedLLMSegLib.slicer_bridge.selftest import self_test\nprint({'torch', 'monai',"
        " 'matplotlib', 'safetensors', 'einops'} & set(sys.modules))"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout.strip().splitlines()[-1] == "set()", done.stdout + done.stderr


def test_a_logic_that_nobody_holds_any_more_ends_its_worker(scan, client):
    logic = SegmentationLogic(makeClient=lambda: client)
    logic.segment(scan)
    assert not client.closed
    del logic
    gc.collect()
    assert client.closed


def test_volumes_reach_the_worker_as_files_that_are_removed(scan, logic, client, tmp_path):
    folders = []
    client.segment = lambda volume, model, **options: (
        folders.extend(tmp_path.glob("MedLLMSeg-*")),
        BallSegmenter()(volume, model, **options),
    )[1]
    logic.segment(scan)
    logic.close()
    assert len(folders) == 1 and not Path(folders[0]).exists()


def test_threads_get_on_while_slicers_window_keeps_the_interpreter(monkeypatch):
    """Slicer's main thread holds the lock in Qt's loop, as here: what reads and writes files
    would get one step a poll.
    """
    import ctypes
    import os
    import time

    from MedLLMSegLib.slicer_bridge.logic import job_runner, jobs

    keep = ctypes.PyDLL(None).usleep  # unlike CDLL, it keeps the lock

    def polls(lent):
        monkeypatch.setattr(job_runner, "THREAD_SLICE_S", lent)
        runner, job, count = job_runner.JobRunner(lambda: None), jobs.Job(), 0
        runner.add(
            job, runner.in_thread(lambda: [(os.stat("/"), time.sleep(0.0002)) for _ in range(60)])
        )
        while job.running:
            runner.poll()
            keep(20_000)
            count += 1
        runner.close()
        assert job.state == "done"
        return count

    assert polls(job_runner.THREAD_SLICE_S) < polls(0.0) / 2


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
