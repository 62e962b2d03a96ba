"""Which pairs of a scan and a segmentation can be trained on, and how they are written."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.data import split_cases
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import read_volume
from Testing.helpers.training_jobs import (
    MATRIX,
    MOVED,
    SHAPE,
    train,
    two_masks,
)


def test_pairs_under_transforms_are_written_where_they_lie(
    scene, add_pair, add_transform, logic, client
):
    pairs = [add_pair(n) for n in range(2)]
    moved = add_transform(MOVED)
    pairs[0][0].SetAndObserveTransformNodeID(moved.GetID())
    pairs[0][1].SetAndObserveTransformNodeID(moved.GetID())
    job, _ = train(logic, pairs)
    assert job.state == "done", job.message
    volume, labels = client.labels["Head_0"]
    np.testing.assert_allclose(volume.ijk_to_ras, MOVED @ MATRIX, atol=1e-5)
    np.testing.assert_allclose(volume.ijk_to_ras, read_volume(pairs[0][0]).ijk_to_ras, atol=1e-5)
    first, second = two_masks(0)
    np.testing.assert_array_equal(labels, first + 2 * second)


def test_scans_of_one_patient_stay_together(scene, add_pair, logic, client):
    hierarchy, pairs = scene.GetSubjectHierarchyNode(), [add_pair(n) for n in range(3)]
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient 7")
    study = hierarchy.CreateStudyItem(patient, "Study of today")
    for volume, _ in pairs[:2]:
        hierarchy.CreateItem(study, volume)
    job, _ = train(logic, pairs)
    assert job.state == "done", job.message
    groups = {case.id: case.group for case in client.cases.cases}
    assert len(set(groups.values())) == 2
    assert not any("Patient 7" in str(case.image) for case in client.cases.cases)
    together = [name for name, group in groups.items() if list(groups.values()).count(group) == 2]
    parts = split_cases(client.cases)
    assert any({case.id for case in parts[part]} == set(together) for part in ("train", "val"))


@pytest.mark.parametrize(
    "names", [("MR", "MR_3", "MR"), ("MR", "mr", "MR_2", "MR"), ("Ä", "ä", "")]
)
def test_every_scan_gets_a_file_of_its_own_on_any_disk(add_pair, logic, client, names):
    pairs = [add_pair(n) for n in range(len(names))]
    for (volume, _), name in zip(pairs, names, strict=True):
        volume.SetName(name)
    job, _ = train(logic, pairs)
    assert job.state == "done", job.message
    assert len({str(case.image).casefold() for case in client.cases.cases}) == len(names)


def test_a_structure_may_be_missing_in_one_scan(add_pair, logic, client):
    first, second = two_masks()
    pairs = [add_pair(0), add_pair(1, drawn=(first, second * 0)), add_pair(2)]
    job, _ = train(logic, pairs)
    assert job.state == "done", job.message
    assert set(np.unique(client.labels["Head_1"][1])) == {0, 1}


def _surfaces(node):
    segments = node.GetSegmentation()
    segments.CreateRepresentation("Closed surface")
    segments.SetSourceRepresentationName("Closed surface")
    for segment_id in segments.GetSegmentIDs():
        segments.GetSegment(segment_id).RemoveRepresentation("Binary labelmap")


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda add: [], "There are no scans"),
        (lambda add: [add(0)], "There is 1 scan"),
        (lambda add: [add(0), (add(1)[0], None)], "There is 1 scan"),
        (lambda add: [(pair := add(0)), (pair[0], add(1)[1])], '"Head 0" is in two pairs'),
        (lambda add: [add(0), add(1, names=("tumour", "liver"))], '"Seg 1" has tumour, liver'),
        (lambda add: [add(0), add(1, names=("tumour",))], '"Seg 1" has tumour;'),
        (lambda add: [add(0), add(1, names=())], '"Seg 1" is empty'),
        (lambda add: [add(0), add(1, names=("tumour", "Tumour"))], "same name"),
        (
            lambda add: [add(0), add(1, drawn=(two_masks()[0] * 0, two_masks()[0] * 0))],
            '"Seg 1" is empty where "Head 1" lies',
        ),
        (lambda add: [add(0), add(1, drawn=(two_masks()[0], two_masks()[0]))], "overlap"),
    ],
    ids=[
        "none",
        "one",
        "no segmentation",
        "twice",
        "other names",
        "a name missing",
        "no segments",
        "one name twice",
        "no voxels",
        "overlap",
    ],
)
def test_what_cannot_be_trained_on_is_one_sentence(scene, add_pair, logic, client, make, says):
    pairs = make(add_pair)
    before = scene.GetNumberOfNodes()
    job, _ = train(logic, pairs)
    assert job.state == "failed", (job.message, job.details)
    assert says in job.message, (job.message, job.details)
    assert job.message.count(". ") == 0
    assert job.message.endswith(".")
    assert not client.requests
    assert scene.GetNumberOfNodes() == before


def test_surfaces_are_turned_into_voxels_and_stay_surfaces(add_pair, logic, client):
    large = np.zeros(SHAPE, np.uint8)
    large[1:8, 1:10, 1:12] = 1
    pairs = [add_pair(n, names=("liver",), drawn=(large,)) for n in range(2)]
    _surfaces(pairs[1][1])
    job, _ = train(logic, pairs)
    assert job.state == "done", job.message
    labels = client.labels["Head_1"][1]
    # Slicer smooths
    assert (labels & large).sum() > 0.7 * large.sum()
    assert (labels & ~large & 1).sum() < 0.1 * large.sum()
    assert not pairs[1][1].GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_a_segmentation_on_another_grid_lies_where_it_lies(
    scene, add_volume, add_pair, logic, client
):
    volume, _ = add_pair(0)
    finer = add_volume(
        np.zeros((18, 22, 26), np.int16), MATRIX @ np.diag([0.5, 0.5, 0.5, 1]), "finer"
    )
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "on the finer grid")
    node.SetReferenceImageGeometryParameterFromVolumeNode(finer)
    mask = np.zeros((18, 22, 26), np.uint8)
    mask[4:10, 6:12, 8:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask, node, node.GetSegmentation().AddEmptySegment("", "liver"), finer
    )
    job, _ = train(logic, [(volume, node), add_pair(1, names=("liver",))])
    assert job.state == "done", job.message
    np.testing.assert_array_equal(client.labels["Head_0"][1], mask[::2, ::2, ::2])
