"""Training from the scene: which pairs are taken, what the worker is handed, and what becomes of
its model.
"""

import errno
import gc
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer
import vtk

from MedLLMSegLib import load_volume
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.data import read_cases, read_label_map, split_cases
from MedLLMSegLib.registry.catalogue import find_model
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.logic.unfinished_trainings import SAVED, discard, unfinished
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import read_volume
from Testing.registry.test_user_models import write_bundle
from Testing.slicer_bridge.stand_in import StandInClient, in_stage, take_along

C, S = np.cos(0.3), np.sin(0.3)
MATRIX = np.array(
    [[0.7 * C, -1.3 * S, 0, 10], [0.7 * S, 1.3 * C, 0, 20], [0, 0, 2.6, -30], [0, 0, 0, 1]]
)
MOVED = np.array([[0.9, -0.1, 0, 3], [0.1, 0.9, 0, -2], [0, 0, 1, 1.5], [0, 0, 0, 1]])
SHAPE = (9, 11, 13)
NAMES = ("tumour", "Edema é")
HISTORY = tuple({"step": 10 * n, "loss": 1 / n} for n in range(1, 8))


def masks(n=0):
    first, second = np.zeros((2, *SHAPE), np.uint8)
    first[2:5, 3:6, 4 + n : 9] = 1
    second[5:7, 5:8, 6:10] = 1
    return first, second


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "cache"


@pytest.fixture
def client(cache):
    def bundle(fields):
        client.cases = read_cases(fields["request"]["source"])
        client.labels = {
            case.id: (
                load_volume(case.image),
                read_label_map(case, client.cases, load_volume(case.image)),
            )
            for case in client.cases.cases
        }
        return write_bundle(
            Path(fields["output"]) / "bundle",
            fields["request"]["name"],
            title=fields["request"]["title"],
        )

    client = StandInClient(bundle=bundle, history=HISTORY)
    return client


@pytest.fixture
def logic(client, tmp_path):
    logic = SegmentationLogic(makeClient=lambda: client)
    yield logic
    logic.close()
    assert not list(tmp_path.glob("MedLLMSeg-*"))
    assert not list((tmp_path / "cache" / "trainings").glob("*/cases")) or list(
        (tmp_path / "cache" / "trainings").glob("*/run")
    )


@pytest.fixture
def add_pair(scene, add_volume):
    scene.GetSubjectHierarchyNode()  # made by the first who asks; in Slicer it is always there

    def add(n, names=NAMES, drawn=None):
        volume = add_volume(
            np.random.default_rng(n).integers(0, 400, SHAPE).astype(np.int16), MATRIX, f"Head {n}"
        )
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"Seg {n}")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for name, mask in zip(names, masks(n) if drawn is None else drawn):
            segment = node.GetSegmentation().AddEmptySegment("", name)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
        return volume, node

    return add


def train(logic, pairs, **options):
    told = []
    job = logic.trainAsync(
        pairs,
        options.pop("name", "My Tumours"),
        onHistory=lambda rows: told.append(rows),
        **options,
    )
    return take_along(logic, job), told


def test_the_worker_gets_the_scans_and_segments_as_they_are(scene, add_pair, logic, client):
    pairs = [add_pair(n) for n in range(3)]
    before = scene.GetNumberOfNodes()
    job, told = train(logic, pairs, minutes=7, device="cpu")
    assert job.state == "done", job.message
    assert scene.GetNumberOfNodes() == before
    ((do, fields),) = client.requests
    asked = fields["request"]
    assert do == "train" and fields["device"] == "cpu"
    assert {name: asked[name] for name in ("name", "title", "start", "minutes", "modality")} == {
        "name": "my-tumours",
        "title": "My Tumours",
        "start": "hippocampus-t1",
        "minutes": 7.0,
        "modality": "MR T1",
    }
    assert [name.casefold() for name in client.cases.labels.values()] == [
        name.casefold() for name in NAMES
    ]
    assert sorted(client.labels) == ["Head_0", "Head_1", "Head_2"]
    for n, (volume, labels) in enumerate(client.labels[f"Head_{n}"] for n in range(3)):
        first, second = masks(n)
        np.testing.assert_array_equal(labels, first + 2 * second)
        np.testing.assert_array_equal(volume.array, slicer.util.arrayFromVolume(pairs[n][0]))
        np.testing.assert_allclose(volume.ijk_to_ras, MATRIX, atol=1e-6)


def test_a_request_is_one_that_the_training_understands(add_pair, logic, client):
    from MedLLMSegLib.training.segmenter.request import TrainRequest

    train(logic, [add_pair(n) for n in range(2)], start=None)
    request = TrainRequest(**client.requests[0][1]["request"])
    assert request.start is None and request.minutes == 15 and "2 scans" in request.data


def test_the_model_becomes_one_of_the_users_and_is_listed(add_pair, logic, cache):
    pairs = [add_pair(n) for n in range(2)]
    job, _ = train(logic, pairs)
    assert job.model.id == "my-tumours" and job.model.folder == cache / "models" / "my-tumours"
    again, _ = train(logic, pairs)
    assert again.model.id == "my-tumours-2"
    listed = {choice.entry.id: choice for choice in logic.models()}
    assert {"hippocampus-t1", "my-tumours", "my-tumours-2"} <= set(listed) and find_model(
        "my-tumours"
    ).title == "My Tumours"
    assert listed["my-tumours"].fits_memory is True and "GB" in listed["my-tumours"].memory_text


def test_a_name_in_another_script_becomes_the_title(add_pair, logic, cache):
    job, _ = train(logic, [add_pair(n) for n in range(2)], name="肝臓モデル")
    assert job.state == "done", job.message
    assert (
        job.model.title == "肝臓モデル"
        and job.model.id.startswith("model-")
        and job.model.folder.name == job.model.id
    )


def test_a_name_that_is_taken_meanwhile_costs_no_training(add_pair, logic, client, cache, tmp_path):
    client.hold = "segment"
    job = logic.trainAsync([add_pair(n) for n in range(2)], "x")
    take_along(logic, job, in_stage("segment"))
    write_bundle(cache / "models" / "x", "x")
    client.hold = None
    assert take_along(logic, job).model.id == "x-2"


def test_progress_runs_forwards_and_the_history_grows(add_pair, logic):
    seen = []
    job = logic.trainAsync(
        [add_pair(n) for n in range(2)],
        "x",
        onProgress=lambda *how: seen.append(how),
        onHistory=lambda rows: seen.append(rows),
    )
    take_along(logic, job)
    steps = [how for how in seen if isinstance(how, tuple)]
    assert steps[0][0] == "Collecting scan 1 of 2" and [f for _, f, _ in steps] == sorted(
        f for _, f, _ in steps
    )
    rows = [rows for rows in seen if isinstance(rows, list)]
    assert [len(r) for r in rows] == list(range(1, 8)) and rows[-1] == list(HISTORY) == job.history


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
    first, second = masks(0)
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
    assert len(set(groups.values())) == 2 and not any(
        "Patient 7" in str(case.image) for case in client.cases.cases
    )
    together = [name for name, group in groups.items() if list(groups.values()).count(group) == 2]
    parts = split_cases(client.cases)
    assert any({case.id for case in parts[part]} == set(together) for part in ("train", "val"))


@pytest.mark.parametrize(
    "names", [("MR", "MR_3", "MR"), ("MR", "mr", "MR_2", "MR"), ("Ä", "ä", "")]
)
def test_every_scan_gets_a_file_of_its_own_on_any_disk(add_pair, logic, client, names):
    pairs = [add_pair(n) for n in range(len(names))]
    for (volume, _), name in zip(pairs, names):
        volume.SetName(name)
    job, _ = train(logic, pairs)
    assert job.state == "done", job.message
    assert len({str(case.image).casefold() for case in client.cases.cases}) == len(names)


def test_a_structure_may_be_missing_in_one_scan(add_pair, logic, client):
    first, second = masks()
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
            lambda add: [add(0), add(1, drawn=(masks()[0] * 0, masks()[0] * 0))],
            '"Seg 1" is empty where "Head 1" lies',
        ),
        (lambda add: [add(0), add(1, drawn=(masks()[0], masks()[0]))], "overlap"),
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
    assert job.state == "failed" and says in job.message, (job.message, job.details)
    assert job.message.count(". ") == 0 and job.message.endswith(".") and not client.requests
    assert scene.GetNumberOfNodes() == before


@pytest.mark.parametrize(
    "options, says",
    [
        ({"name": "  "}, "no name for a model"),
        ({"minutes": 0}, "more than 0"),
        ({"start": "nothing"}, "no model called"),
    ],
)
def test_impossible_wishes_are_one_sentence(add_pair, logic, client, options, says):
    job, _ = train(logic, [add_pair(n) for n in range(2)], **options)
    assert job.state == "failed" and says in job.message and not client.requests


def test_surfaces_are_turned_into_voxels_and_stay_surfaces(add_pair, logic, client):
    large = np.zeros(SHAPE, np.uint8)
    large[1:8, 1:10, 1:12] = 1
    pairs = [add_pair(n, names=("liver",), drawn=(large,)) for n in range(2)]
    _surfaces(pairs[1][1])
    job, _ = train(logic, pairs)
    assert job.state == "done", job.message
    labels = client.labels["Head_1"][1]
    assert (labels & large).sum() > 0.7 * large.sum() and (
        labels & ~large & 1
    ).sum() < 0.1 * large.sum()  # Slicer smooths
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


@pytest.mark.parametrize("stage", ["start", "segment", "done"])
def test_cancel_leaves_no_model_and_no_files(scene, add_pair, logic, client, cache, stage):
    pairs = [add_pair(n) for n in range(2)]
    client.hold, before = stage, scene.GetNumberOfNodes()
    job = logic.trainAsync(pairs, "x")
    take_along(logic, job, in_stage(stage))
    logic.cancel(job)
    take_along(logic, job)
    assert job.state == "cancelled" and job.model is None and scene.GetNumberOfNodes() == before
    assert not (cache / "models").exists() or not list((cache / "models").iterdir())


# a training that was not finished


def begin_and_break_off(logic, client, pairs, how="cancel", **options):
    """A training that was saved once, and then was cancelled or lost its worker. Returns its
    request.
    """
    client.hold = "segment"
    job = logic.trainAsync(pairs, "x", **options)
    take_along(logic, job, in_stage("segment"))
    do, fields = client.requests[-1]
    Path(fields["output"]).mkdir(parents=True, exist_ok=True)
    (Path(fields["output"]) / "last.pt").write_bytes(b"half way")
    client.hold, client.fails = (
        None,
        None if how == "cancel" else {"kind": "unexpected", "message": "The worker stopped."},
    )
    if how == "cancel":
        logic.cancel(job)
    take_along(logic, job)
    assert job.state == ("cancelled" if how == "cancel" else "failed") and not job.needsScene
    client.fails = None
    return fields


def finish(logic, client, pairs, **options):
    """Train again: (request, whether it went on from the last checkpoint)"""
    was, bundle = [], client.bundle
    client.bundle = lambda fields: (
        was.append((Path(fields["output"]) / "last.pt").exists()),
        bundle(fields),
    )[1]
    job = take_along(logic, logic.trainAsync(pairs, "x", **options))
    client.bundle = bundle
    assert job.state == "done" and job.model.id.startswith("x"), job.message
    return client.requests[-1][1], was[0]


@pytest.mark.parametrize("how", ["cancel", "failure"])
def test_the_same_training_goes_on_from_where_it_was_saved(add_pair, logic, client, cache, how):
    pairs = [add_pair(n) for n in range(2)]
    first = begin_and_break_off(logic, client, pairs, how)
    again, went_on = finish(logic, client, pairs)
    assert went_on and again == first
    logic.close()
    assert not list(
        (cache / "trainings").glob("*/")
    )  # nothing of the scans is left when there is a model


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
@pytest.mark.parametrize("before", [None, 0o755])
def test_copies_of_scans_are_their_owners_alone(add_pair, logic, client, cache, before):
    if before:
        (cache / "trainings").mkdir(parents=True, mode=before)
    begin_and_break_off(logic, client, [add_pair(n) for n in range(2)])
    assert (cache / "trainings").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "fails",
    [
        {"kind": "user", "message": "Training needs a package."},
        {"kind": "unexpected", "message": "The worker stopped."},
        None,
    ],
)
def test_scans_are_kept_only_where_something_was_saved(add_pair, logic, client, cache, fails):
    pairs = [add_pair(n) for n in range(2)]
    client.hold = "segment"
    job = logic.trainAsync(pairs, "x")
    take_along(logic, job, in_stage("segment"))
    (cache / "trainings" / "x" / "run").mkdir()  # begun, and never saved
    client.hold, client.fails = None, fails
    if not fails:
        logic.cancel(job)
    assert take_along(logic, job).kept == "" and unfinished() == ()


def refusals(run):
    """What a training says when it cannot go on in a folder; the last is no fault of what lies
    there.
    """
    from MedLLMSegLib.core.safe_files import write_error
    from MedLLMSegLib.training import checkpoint
    from MedLLMSegLib.training.segmenter.request import TrainRequest

    def said(function, *arguments):
        with pytest.raises(UserError) as refusal:
            function(*arguments)
        return str(refusal.value)

    assert checkpoint.LAST == SAVED and (run / SAVED).exists()
    (run / SAVED).write_bytes(b"PK\x03\x04 and no more")
    damaged = said(checkpoint.load, run / checkpoint.LAST)
    (run / checkpoint.PLAN).write_text("{}")
    plan = said(checkpoint.plan_to_resume, run, TrainRequest(source="", output=str(run), minutes=3))
    unfit = said(checkpoint.load_best, run)
    (run / checkpoint.PLAN).write_text("{")
    return (
        damaged,
        plan,
        unfit,
        said(checkpoint.read_plan, run),
        str(write_error(run / "last.pt", OSError(errno.ENOSPC, ""))),
    )


@pytest.mark.parametrize(
    "which", range(5), ids=["checkpoint", "settings", "best", "plan", "full disk"]
)
def test_what_can_never_be_gone_on_from_is_discarded(add_pair, logic, client, cache, which):
    pairs = [add_pair(n) for n in range(2)]
    fields = begin_and_break_off(logic, client, pairs)
    assert discard_is_harmless_while(logic, client, pairs)
    client.fails = {"kind": "user", "message": refusals(Path(fields["output"]))[which]}
    job, _ = train(logic, pairs, name="x")
    client.fails = None
    assert job.state == "failed" and (job.kept == "") is (which < 4)
    assert ("was discarded" in job.message) is (which < 4) and unfinished() == (
        () if which < 4 else ("x",)
    )
    assert finish(logic, client, pairs)[1] is (which == 4)


def discard_is_harmless_while(logic, client, pairs):
    """Whether a training that is at work outlives a discard, and is kept when it is cancelled."""
    client.hold = "segment"
    job = logic.trainAsync(pairs, "x")
    take_along(logic, job, in_stage("segment"))
    discard()
    client.hold = None
    logic.cancel(job)
    return Path(take_along(logic, job).kept, "run", SAVED).exists()


def test_the_same_scans_in_another_scene_are_the_same_cases(scene, add_pair, logic, client):
    def in_a_study(others):
        hierarchy = scene.GetSubjectHierarchyNode()
        for n in range(others):
            hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), f"other {n}")
        pairs = [add_pair(n) for n in range(2)]
        for n, (volume, _) in enumerate(pairs):
            hierarchy.CreateItem(
                hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), f"Patient {n}"), volume
            )
        return pairs

    begin_and_break_off(logic, client, in_a_study(0))
    scene.Clear(0)
    assert finish(logic, client, in_a_study(3))[1]


@pytest.mark.parametrize(
    "change", ["minutes", "device", "start", "voxel", "label", "transform", "fewer"]
)
def test_another_training_begins_anew(scene, add_pair, add_transform, logic, client, change):
    pairs = [add_pair(n) for n in range(3)]
    begin_and_break_off(logic, client, pairs)
    options = {
        "minutes": {"minutes": 20},
        "device": {"device": "cpu"},
        "start": {"start": None},
    }.get(change, {})
    volume, node = pairs[0]
    if change == "voxel":
        slicer.util.arrayFromVolume(volume)[0, 0, 0] += 1
    if change == "label":
        mask = masks()[0] * 0
        mask[0, 0, 0] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask, node, node.GetSegmentation().GetNthSegmentID(0), volume
        )
    if change == "transform":
        for each in pairs[0]:
            each.SetAndObserveTransformNodeID(add_transform(MOVED).GetID())
    assert not finish(logic, client, pairs[:2] if change == "fewer" else pairs, **options)[1]
    assert len(client.cases.cases) == (2 if change == "fewer" else 3)


def test_two_trainings_of_one_name_do_not_share_a_folder(add_pair, logic, client):
    pairs = [add_pair(n) for n in range(2)]
    client.hold = "segment"
    first = logic.trainAsync(pairs, "x")
    take_along(logic, first, in_stage("segment"))
    second = take_along(logic, logic.trainAsync(pairs, "x"))
    assert second.state == "failed" and "being trained already" in second.message
    client.hold = None
    assert take_along(logic, first).state == "done"


def test_closing_slicer_keeps_what_was_trained(add_pair, client, cache):
    pairs = [add_pair(n) for n in range(2)]
    logic, client.hold = SegmentationLogic(makeClient=lambda: client), "segment"
    take_along(logic, logic.trainAsync(pairs, "x"), in_stage("segment"))
    logic.close()  # the worker saves as it ends
    client.open.clear()
    client.cancelled.clear()
    client.hold = None
    logic = SegmentationLogic(makeClient=lambda: client)
    assert finish(logic, client, pairs)[1]
    logic.close()


def test_a_scan_that_goes_while_cases_are_collected_ends_it_and_later_it_does_not(
    scene, add_pair, logic, client
):
    pairs = [add_pair(n) for n in range(3)]
    job = logic.trainAsync(pairs, "x")
    take_along(logic, job, in_stage("Collecting scan 1 of 3"))
    scene.RemoveNode(pairs[2][1])
    take_along(logic, job)
    assert job.state == "cancelled" and "removed" in job.message and not client.requests
    client.hold = "segment"
    job = logic.trainAsync(pairs[:2], "x")
    take_along(logic, job, in_stage("segment"))
    scene.Clear(0)
    client.hold = None
    assert take_along(logic, job).state == "done"  # all that it needs is on disk


def test_a_closed_scene_leaves_memory_while_the_training_goes_on(scene, add_pair, logic, client):
    client.hold, pairs = "segment", [add_pair(n) for n in range(2)]
    left = [vtk.vtkWeakReference() for _ in range(4)]
    for reference, node in zip(left, sum(pairs, ())):
        reference.Set(node)
    job = logic.trainAsync(pairs, "x")
    take_along(logic, job, in_stage("segment"))
    del pairs, node
    scene.Clear(0)
    gc.collect()
    assert job.running and not any(reference.Get() for reference in left)
    client.hold = None
    assert (
        take_along(logic, job).state == "done"
        and "2 scans" in client.requests[-1][1]["request"]["data"]
    )


def test_a_failed_training_says_why(add_pair, logic, client):
    client.fails = {"kind": "user", "message": "Training needs the package lightning-fabric."}
    job, _ = train(logic, [add_pair(n) for n in range(2)])
    assert (job.state, job.message) == ("failed", "Training needs the package lightning-fabric.")
