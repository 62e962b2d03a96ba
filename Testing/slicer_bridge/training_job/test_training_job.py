"""Training from the scene: what the worker gets, and what becomes of its model."""

import gc

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer
import vtk

from MedLLMSegLib.registry.catalogue import find_model
from Testing.helpers.training_jobs import (
    HISTORY,
    MATRIX,
    NAMES,
    train,
    two_masks,
)
from Testing.registry.test_user_models import write_bundle
from Testing.slicer_bridge.stand_in import in_stage, take_along


def test_the_worker_gets_the_scans_and_segments_as_they_are(scene, add_pair, logic, client):
    pairs = [add_pair(n) for n in range(3)]
    before = scene.GetNumberOfNodes()
    job, _ = train(logic, pairs, minutes=7, device="cpu")
    assert job.state == "done", job.message
    assert scene.GetNumberOfNodes() == before
    ((do, fields),) = client.requests
    asked = fields["request"]
    assert do == "train"
    assert fields["device"] == "cpu"
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
        first, second = two_masks(n)
        np.testing.assert_array_equal(labels, first + 2 * second)
        np.testing.assert_array_equal(volume.array, slicer.util.arrayFromVolume(pairs[n][0]))
        np.testing.assert_allclose(volume.ijk_to_ras, MATRIX, atol=1e-6)


def test_a_request_is_one_that_the_training_understands(add_pair, logic, client):
    from MedLLMSegLib.training.segmenter.request import TrainRequest

    train(logic, [add_pair(n) for n in range(2)], start=None)
    request = TrainRequest(**client.requests[0][1]["request"])
    assert request.start is None
    assert request.minutes == 15
    assert "2 scans" in request.data


def test_the_model_becomes_one_of_the_users_and_is_listed(add_pair, logic, cache):
    pairs = [add_pair(n) for n in range(2)]
    job, _ = train(logic, pairs)
    assert job.model.id == "my-tumours"
    assert job.model.folder == cache / "models" / "my-tumours"
    again, _ = train(logic, pairs)
    assert again.model.id == "my-tumours-2"
    listed = {choice.entry.id: choice for choice in logic.models()}
    assert {"hippocampus-t1", "my-tumours", "my-tumours-2"} <= set(listed)
    assert find_model("my-tumours").title == "My Tumours"
    assert listed["my-tumours"].fits_memory is True
    assert "GB" in listed["my-tumours"].memory_text


def test_a_name_in_another_script_becomes_the_title(add_pair, logic, cache):
    job, _ = train(logic, [add_pair(n) for n in range(2)], name="肝臓モデル")
    assert job.state == "done", job.message
    assert job.model.title == "肝臓モデル"
    assert job.model.id.startswith("model-")
    assert job.model.folder.name == job.model.id


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
        onProgress=lambda *progress: seen.append(progress),
        onHistory=seen.append,
    )
    take_along(logic, job)
    steps = [call for call in seen if isinstance(call, tuple)]
    assert steps[0][0] == "Collecting scan 1 of 2"
    assert [f for _, f, _ in steps] == sorted(f for _, f, _ in steps)
    rows = [rows for rows in seen if isinstance(rows, list)]
    assert [len(r) for r in rows] == list(range(1, 8))
    assert rows[-1] == list(HISTORY) == job.history


@pytest.mark.parametrize(
    "options, says",
    [
        ({"name": "  "}, "not a name for a model"),
        ({"minutes": 0}, "more than 0"),
        ({"start": "nothing"}, "no model called"),
    ],
)
def test_impossible_wishes_are_one_sentence(add_pair, logic, client, options, says):
    job, _ = train(logic, [add_pair(n) for n in range(2)], **options)
    assert job.state == "failed"
    assert says in job.message
    assert not client.requests


@pytest.mark.parametrize("stage", ["start", "segment", "done"])
def test_cancel_leaves_no_model_and_no_files(scene, add_pair, logic, client, cache, stage):
    pairs = [add_pair(n) for n in range(2)]
    client.hold, before = stage, scene.GetNumberOfNodes()
    job = logic.trainAsync(pairs, "x")
    take_along(logic, job, in_stage(stage))
    logic.cancel(job)
    take_along(logic, job)
    assert job.state == "cancelled"
    assert job.model is None
    assert scene.GetNumberOfNodes() == before
    assert not (cache / "models").exists() or not list((cache / "models").iterdir())


def test_a_scan_that_goes_while_cases_are_collected_ends_it_and_later_it_does_not(
    scene, add_pair, logic, client
):
    pairs = [add_pair(n) for n in range(3)]
    job = logic.trainAsync(pairs, "x")
    take_along(logic, job, in_stage("Collecting scan 1 of 3"))
    scene.RemoveNode(pairs[2][1])
    take_along(logic, job)
    assert job.state == "cancelled"
    assert "removed" in job.message
    assert not client.requests
    client.hold = "segment"
    job = logic.trainAsync(pairs[:2], "x")
    take_along(logic, job, in_stage("segment"))
    scene.Clear(0)
    client.hold = None
    assert take_along(logic, job).state == "done"  # all that it needs is on disk


def test_a_closed_scene_leaves_memory_while_the_training_goes_on(scene, add_pair, logic, client):
    client.hold, pairs = "segment", [add_pair(n) for n in range(2)]
    left = [vtk.vtkWeakReference() for _ in range(4)]
    for reference, node in zip(left, sum(pairs, ()), strict=True):
        reference.Set(node)
    job = logic.trainAsync(pairs, "x")
    take_along(logic, job, in_stage("segment"))
    del pairs, node
    scene.Clear(0)
    gc.collect()
    assert job.running
    assert not any(reference.Get() for reference in left)
    client.hold = None
    assert take_along(logic, job).state == "done"
    assert "2 scans" in client.requests[-1][1]["request"]["data"]


def test_a_failed_training_says_why(add_pair, logic, client):
    client.fails = {"kind": "user", "message": "Training needs the package lightning-fabric."}
    job, _ = train(logic, [add_pair(n) for n in range(2)])
    assert (job.state, job.message) == ("failed", "Training needs the package lightning-fabric.")
