"""A Markups ROI that limits the search: straight, turned, under a transform, and useless ones."""

import shlex

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.segmentation.region import Region
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.scene.region_nodes import faces_in_file, region_of
from MedLLMSegLib.worker.message_checks import check_request
from Testing.helpers.segmentation_jobs import segment_centres, start_run
from Testing.slicer_bridge.stand_in import BALLS_RAS, GRID, OBLIQUE, BallSegmenter, take_along

LEFT = (20.0, -16.0, 31.5)  # between the two balls of the left side
SHAPE = (20, 60, 70)
STRAIGHT = np.array([[-1.2, 0, 0, 70.0], [0, -1, 0, 15], [0, 0, 2, 12], [0, 0, 0, 1]])


@pytest.fixture
def scan(add_volume):
    """A grid along the body's axes, two of them flipped, that holds all four balls."""
    array = np.random.default_rng(0).integers(0, 400, SHAPE).astype(np.int16)
    return add_volume(array, STRAIGHT, "MRHead")


@pytest.fixture
def add_roi(scene):
    """add_roi(centre, size, turned by so many degrees about z) -> vtkMRMLMarkupsROINode"""

    def add(centre=LEFT, size=(14.0, 30.0, 24.0), degrees=0.0):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
        node.SetSize(*size)
        node.SetCenter(*centre)
        if degrees:
            angle, matrix = np.radians(degrees), np.eye(4)
            matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            matrix[:3, 3] = centre
            node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
        return node

    return add


@pytest.mark.parametrize("in_process", [True, False])
def test_only_what_lies_inside_is_found_at_its_place(scan, logic, client, add_roi, in_process):
    segmenter = client.segment
    if in_process:
        logic.segmentFunction = segmenter
    job, _ = start_run(logic, scan, regionNode=add_roi(), uncertainty=True)
    take_along(logic, job)
    assert job.state == "done", job.message
    centres = segment_centres(job.segmentationNode)
    assert sorted(centres) == ["Left hippocampus (anterior)", "Left hippocampus (posterior)"]
    for label, name in ((1, "anterior"), (2, "posterior")):
        found = centres[f"Left hippocampus ({name})"]
        assert np.linalg.norm(np.array(found) - BALLS_RAS[label]) < 2.5
    assert segmenter.volume.array.size < scan.GetImageData().GetNumberOfPoints() / 8
    assert "Only the region was searched" in " ".join(job.notes)
    # the map lies on the whole scan, with nothing outside of the region
    unsure = slicer.util.arrayFromVolume(job.uncertaintyNode)
    assert unsure.shape == SHAPE
    inside = np.zeros(SHAPE, bool)
    inside[region_of(add_roi()).box_on(_grid(scan))] = True
    assert unsure[inside].any()
    assert not unsure[~inside].any()


def _grid(scan):
    from MedLLMSegLib.slicer_bridge.scene.volume_nodes import read_volume

    return read_volume(scan).grid


def test_it_is_where_it_is_seen_whatever_transforms_it_and_the_scan_have(
    scan, logic, add_roi, add_transform
):
    shift = np.eye(4)
    shift[:3, 3] = (100, -50, 20)
    roi = add_roi(np.array(LEFT) - (100, -50, 20))
    roi.SetAndObserveTransformNodeID(add_transform(shift).GetID())
    node = logic.segment(scan, regionNode=roi)
    assert len(segment_centres(node)) == 2
    np.testing.assert_allclose(np.mean(region_of(roi).corners_ras, 0), LEFT, atol=1e-6)


def test_a_turned_one_searches_the_box_around_it_along_the_scans_axes(scan, logic, add_roi):
    """A thin plate, turned by 45 degrees, does not hold what its bounding box holds."""
    plate, turned = (4.0, 60.0, 24.0), {"degrees": 45.0}
    assert len(segment_centres(logic.segment(scan, regionNode=add_roi(size=plate)))) == 2
    roi = add_roi((29.0, -17.0, 30.0), plate, **turned)
    assert len(segment_centres(logic.segment(scan, regionNode=roi))) == 4
    corners = np.array(region_of(roi).corners_ras)
    across = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    assert across.max() == pytest.approx(np.linalg.norm(plate))  # a plate as before


@pytest.mark.parametrize("how", ["no size", "beside the scan", "bent"])
def test_a_useless_one_is_said_in_one_sentence(scene, scan, logic, client, add_roi, how):
    roi = add_roi()
    if how == "no size":
        roi.SetSize(0, 0, 0)
    elif how == "beside the scan":
        roi.SetCenter(2000, 0, 0)
    else:
        bent = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
        roi.SetAndObserveTransformNodeID(bent.GetID())
    job, _ = start_run(logic, scan, regionNode=roi)
    take_along(logic, job)
    assert job.state == "failed"
    assert isinstance(job.error, UserError)
    assert not client.requests


def test_the_worker_gets_the_whole_scan_and_the_box(scan, logic, client, add_roi):
    """So it knows what the region cuts off, and how large the scan is."""
    job, _ = start_run(logic, scan, regionNode=add_roi())
    take_along(logic, job)
    ((_do, fields),) = client.requests
    check_request({"id": 1, "do": "segment", **fields})
    assert fields["region"] == [list(corner) for corner in region_of(add_roi()).corners_ras]
    job, _ = start_run(logic, scan)
    take_along(logic, job)
    assert "region" not in client.requests[-1][1]


def test_it_is_read_when_the_job_begins(scan, logic, client, add_roi):
    roi = add_roi()
    job, _ = start_run(logic, scan, regionNode=roi)
    logic.poll()
    roi.SetCenter(2000, 0, 0)
    slicer.mrmlScene.RemoveNode(roi)
    take_along(logic, job)
    assert len(segment_centres(job.segmentationNode)) == 2


def test_every_image_of_a_sequence_is_searched_inside_it(scene, scan, logic, client, add_roi):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    for value in "01":
        sequence.SetDataNodeAtValue(scan, value)
    job, _ = start_run(logic, sequence, regionNode=add_roi())
    take_along(logic, job)
    assert job.state == "done", job.message
    assert [len(rows) for rows in job.itemRows.values()] == [2, 2]


def test_the_copied_calls_name_it(scan, add_roi, add_transform):
    logic, roi = SegmentationLogic(BallSegmenter()), add_roi()
    text = logic.pythonLines(scan, regionNode=roi)
    assert 'regionNode = slicer.util.getNode("ROI")' in text
    assert "regionNode=regionNode" in text
    words = shlex.split(logic.commandLine(scan, regionNode=roi).splitlines()[-1])
    numbers = [float(word) for word in words[words.index("--roi") + 1 :]]
    assert numbers == [13, -31, 19.5, 27, -1, 43.5]
    assert Region.from_faces(numbers).faces == region_of(roi).faces
    assert "turned" not in logic.commandLine(scan, regionNode=roi)
    assert "turned" in logic.commandLine(scan, regionNode=add_roi(degrees=30))


def test_the_command_has_it_where_the_scans_file_has_it(scan, add_roi, add_transform):
    turn = np.array([[0, -1, 0, 5.0], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    scan.SetAndObserveTransformNodeID(add_transform(turn).GetID())
    faces, is_exact = faces_in_file(add_roi(), scan)
    assert is_exact  # a quarter of a turn leaves a box straight
    expected = transform_points(np.linalg.inv(turn), [(13, -31, 19.5), (27, -1, 43.5)])
    assert faces == pytest.approx((*expected.min(0), *expected.max(0)))


def test_a_scan_with_turned_axes_is_searched_on_part_of_its_own_grid(add_volume, add_roi):
    array = np.random.default_rng(0).integers(0, 400, GRID).astype(np.int16)
    scan, segmenter = add_volume(array, OBLIQUE), BallSegmenter()
    SegmentationLogic(segmenter).segment(scan, regionNode=add_roi(size=(4.0, 4.0, 4.0)))
    steps = np.linalg.inv(OBLIQUE) @ segmenter.volume.ijk_to_ras
    np.testing.assert_allclose(steps[:3, :3], np.eye(3), atol=1e-9)
    np.testing.assert_allclose(steps[:3, 3], np.round(steps[:3, 3]), atol=1e-6)
    assert steps[:3, 3].min() > 0
