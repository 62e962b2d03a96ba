"""A sequence that is cancelled, fails or changes leaves the scene as it was."""

import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
from MedLLMSegLib.core.errors import UserError
from Testing.helpers.sequence_jobs import TIMES, node_list
from Testing.slicer_bridge.stand_in import (
    in_stage,
    take_along,
)


@pytest.mark.parametrize("image", [1, 2, 3])
def test_cancel_in_any_image_leaves_the_scene_as_it_was(scene, shown, logic, client, image):
    before = node_list(scene)
    job = logic.segmentAsync(shown[0])
    take_along(logic, job, lambda job: job.stage == f"{image} of 3: segment")
    logic.cancel(job)
    take_along(logic, job)
    assert job.state == "cancelled"
    assert node_list(scene) == before
    assert len(client.requests) == image


def test_a_failure_when_all_is_written_leaves_the_scene_as_it_was(
    scene, shown, add_sequence, logic, monkeypatch
):
    from MedLLMSegLib.slicer_bridge.scene import sequence_output

    sequence = add_sequence()  # one with a browser, one without
    before = node_list(scene)
    monkeypatch.setattr(sequence_output, "name_map", lambda *arguments: 1 / 0)
    for given in (shown[0], sequence):
        job = take_along(logic, logic.segmentAsync(given))
        assert job.state == "failed"
        assert "ZeroDivisionError" in job.message
        assert node_list(scene) == before


def test_the_browser_may_be_moved_and_the_scene_closed_meanwhile(scene, shown, logic, client):
    sequence, browser = shown
    job = logic.segmentAsync(sequence)
    for n in (1, 2):
        take_along(logic, job, lambda job, n=n: job.stage == f"{n} of 3: read")
        browser.SetSelectedItemNumber(n)
    take_along(logic, job)
    assert [len(rows) for rows in job.itemRows.values()] == [1, 2, 3]
    client.hold = "segment"
    job = logic.segmentAsync(sequence)
    take_along(logic, job, in_stage("1 of 3: segment"))
    scene.Clear(0)
    take_along(logic, job)
    assert job.state == "cancelled"
    assert "removed" in job.message
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0


def test_an_image_that_is_removed_meanwhile_ends_the_run(scene, shown, logic):
    before = node_list(scene)
    job = logic.segmentAsync(shown[0])
    take_along(logic, job, in_stage("1 of 3: segment"))
    shown[0].RemoveDataNodeAtValue(TIMES[2])
    take_along(logic, job)
    assert job.state == "cancelled"
    assert "An image of the sequence" in job.message
    assert node_list(scene) == before


def test_a_browser_that_is_removed_meanwhile_is_made_anew(scene, shown, logic):
    sequence, browser = shown
    job = logic.segmentAsync(sequence)
    take_along(logic, job, in_stage("2 of 3: segment"))
    scene.RemoveNode(browser)
    take_along(logic, job)
    assert (job.state, job.message) == ("done", "")
    made = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    assert made.GetSequenceNode(job.segmentationNode).GetNumberOfDataNodes() == 3


def test_a_browser_that_shows_what_is_updated_is_needed(scene, shown, logic):
    sequence, browser = shown
    node = logic.segment(sequence)
    job = logic.segmentAsync(sequence, segmentationNode=node)
    take_along(logic, job, in_stage("2 of 3: segment"))
    scene.RemoveNode(browser)
    take_along(logic, job)
    assert job.state == "cancelled"
    assert "The browser of the sequence" in job.message


def test_a_sequence_of_something_else_is_refused(scene, logic):
    empty = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "empty")
    with pytest.raises(UserError, match='"empty" holds no scans'):
        logic.segment(empty)


def test_4d_data_without_a_sequence_is_refused_with_a_way_on(scene, logic):
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "dce")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_SHORT, 30)
    node.SetAndObserveImageData(image)
    with pytest.raises(UserError) as refusal:
        logic.segment(node)
    assert '"dce" holds 30 values in each voxel' in str(refusal.value)
    assert "as a sequence" in str(refusal.value)
    assert str(refusal.value).count(". ") == 0
