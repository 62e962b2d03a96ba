"""Several scans of the scene, one after the other, each result beside its scan."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import UserError
from Testing.helpers.segmentation_jobs import scene_contents, segment_centres
from Testing.slicer_bridge.stand_in import GRID, OBLIQUE, in_stage, take_along


@pytest.fixture
def scans(add_volume):
    array = np.random.default_rng(0).integers(0, 400, GRID).astype(np.int16)
    return [add_volume(array, OBLIQUE, name) for name in ("CT-1", "CT-2", "CT-3")]


@pytest.fixture
def begin(logic):
    """begin(scans) -> (job, its stages)"""

    def run(scans, **options):
        stages = []
        job = logic.segmentAllAsync(
            scans, onProgress=lambda stage, *numbers: stages.append((stage, *numbers)), **options
        )
        return job, stages

    return run


def segmentation_of(scan):
    """The only segmentation that was drawn on a scan."""
    found = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is scan
    ]
    assert len(found) == 1
    return found[0]


def test_height_and_weight_of_one_person_are_refused(scene, scans, begin):
    before = scene_contents(scene)
    with pytest.raises(UserError, match="one person"):
        begin(scans, heightCm=178, weightKg=80)
    assert scene_contents(scene) == before


def test_each_scan_gets_a_segmentation_beside_it(scene, scans, logic, begin):
    hierarchy = scene.GetSubjectHierarchyNode()
    folders = []
    for scan in scans:
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), scan.GetName())
        item = hierarchy.GetItemByDataNode(scan) or hierarchy.CreateItem(folder, scan)
        hierarchy.SetItemParent(item, folder)
        folders.append(folder)
    job, stages = begin(scans, segmentationNode=None)
    take_along(logic, job)
    assert job.state == "done", job.message
    for scan, folder in zip(scans, folders, strict=True):
        node = segmentation_of(scan)
        assert len(segment_centres(node)) == 4
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder
    assert [(scan.name, scan.message) for scan in job.scans] == [
        ("CT-1", ""),
        ("CT-2", ""),
        ("CT-3", ""),
    ]
    assert job.segmentationNode is segmentation_of(scans[0])
    assert len(job.rows) == 4
    fractions = [fraction for _stage, fraction, _left in stages]
    assert fractions == sorted(fractions)
    assert stages[-1][0].startswith("3 of 3: ")


def test_one_that_fails_stops_no_other(scene, scans, logic, client, begin):
    flat = slicer.util.addVolumeFromArray(np.ones((1, 8, 8), np.int16), name="X-ray")
    job, _ = begin([flat, *scans[:2]])
    take_along(logic, job)
    assert job.state == "done"
    assert [bool(scan.message) for scan in job.scans] == [True, False, False]
    assert "flat image" in job.scans[0].message
    assert job.segmentationNode is segmentation_of(scans[0])


def test_a_worker_that_dies_costs_one_scan(scans, logic, client, begin):
    job, _ = begin(scans)
    take_along(logic, job, in_stage("localize"))
    client.fails = {"kind": "unexpected", "message": "The worker stopped.", "details": "killed"}
    take_along(logic, job, lambda job: bool(job.scans))
    client.fails = None
    take_along(logic, job)
    assert [scan.message for scan in job.scans] == ["The worker stopped.", "", ""]
    assert job.scans[0].details == "killed"


def test_where_none_is_segmented_the_job_fails_with_the_reasons(scene, scans, logic, client, begin):
    client.fails = {"kind": "user", "message": "No hippocampus was found."}
    before = scene_contents(scene)
    job, _ = begin(scans)
    take_along(logic, job)
    assert job.state == "failed"
    assert isinstance(job.error, UserError)
    assert "None of 3 scans" in job.message
    assert "CT-3: No hippocampus was found." in job.message
    assert scene_contents(scene) == before


def test_a_cancel_keeps_what_is_done(scene, scans, logic, client, begin):
    job, _ = begin(scans)
    take_along(logic, job, lambda job: len(job.scans) == 1)
    take_along(logic, job, in_stage("segment"))
    logic.cancel(job)
    take_along(logic, job)
    assert job.state == "cancelled"
    assert (len(job.scans), job.planned) == (1, 3)
    assert len(segment_centres(segmentation_of(scans[0]))) == 4
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_a_scan_that_is_deleted_before_its_turn_is_passed_over(scene, scans, logic, begin):
    job, _ = begin(scans)
    take_along(logic, job, in_stage("segment"))
    scene.RemoveNode(scans[1])
    take_along(logic, job)
    assert job.state == "done"
    assert "removed" in job.scans[1].message
    assert [bool(scan.message) for scan in job.scans] == [False, True, False]


def test_no_scan_at_all_is_said(logic, begin):
    job, _ = begin([])
    take_along(logic, job)
    assert job.state == "failed"
    assert "load one" in job.message


def test_a_sequence_among_them_is_segmented_whole(scene, scans, logic, begin):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    for value in "01":
        sequence.SetDataNodeAtValue(scans[0], value)
    job, stages = begin([sequence, scans[1]])
    take_along(logic, job)
    assert job.state == "done", job.message
    assert [len(rows) for rows in job.itemRows.values()] == [4, 4]
    assert any(stage.startswith("1 of 2: 2 of 2: ") for stage, *_ in stages)
    assert segmentation_of(scans[1]) is not None
