"""A training that was not finished resumes, or is discarded."""

import errno
import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.logic.unfinished_trainings import (
    IDENTITY,
    SAVED,
    broken_off,
    discard,
    resume_or_reset,
    unfinished,
)
from Testing.helpers.training_jobs import (
    MOVED,
    train,
    two_masks,
)
from Testing.slicer_bridge.stand_in import in_stage, take_along


def begin_and_break_off(logic, client, pairs, how="cancel", **options):
    """A training that was saved once, and then was cancelled or lost its worker. Returns its
    request.
    """
    client.hold = "segment"
    job = logic.trainAsync(pairs, "x", **options)
    take_along(logic, job, in_stage("segment"))
    _do, fields = client.requests[-1]
    Path(fields["output"]).mkdir(parents=True, exist_ok=True)
    (Path(fields["output"]) / "last.pt").write_bytes(b"half way")
    client.hold, client.fails = (
        None,
        None if how == "cancel" else {"kind": "unexpected", "message": "The worker stopped."},
    )
    if how == "cancel":
        logic.cancel(job)
    take_along(logic, job)
    assert job.state == ("cancelled" if how == "cancel" else "failed")
    assert not job.needsScene
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
    assert job.state == "done", job.message
    assert job.model.id.startswith("x"), job.message
    return client.requests[-1][1], was[0]


@pytest.mark.parametrize("how", ["cancel", "failure"])
def test_the_same_training_goes_on_from_where_it_was_saved(add_pair, logic, client, cache, how):
    pairs = [add_pair(n) for n in range(2)]
    first = begin_and_break_off(logic, client, pairs, how)
    again, went_on = finish(logic, client, pairs)
    assert went_on
    assert again == first
    logic.close()
    assert not list(
        (cache / "trainings").glob("*/")
    )  # nothing of the scans is left when there is a model


@pytest.mark.parametrize("how", ["cancel", "failure"])
def test_it_goes_on_without_its_scene(scene, add_pair, logic, client, cache, how):
    first = begin_and_break_off(logic, client, [add_pair(n) for n in range(2)], how)
    scene.Clear(0)
    saved, histories = Path(first["output"]) / SAVED, []
    client.bundle = went_on_from(client.bundle, saved)
    job = logic.goOnTrainingAsync("x", onHistory=histories.append)
    take_along(logic, job)
    assert job.state == "done", job.message
    assert client.requests[-1] == ("train", first)
    assert job.model.id.startswith("x")
    assert histories
    assert broken_off() == unfinished() == ()


def went_on_from(bundle, saved):
    def made(fields):
        assert saved.exists()
        return bundle(fields)

    return made


def test_one_that_breaks_off_again_is_kept_again(add_pair, logic, client, cache):
    begin_and_break_off(logic, client, [add_pair(n) for n in range(2)])
    client.fails = {"kind": "unexpected", "message": "The worker stopped."}
    job = take_along(logic, logic.goOnTrainingAsync("x"))
    client.fails = None
    assert (job.state, Path(job.kept).name) == ("failed", "x")
    assert broken_off() == ("x",)


@pytest.mark.parametrize(
    "change, words",
    [
        (None, "Nothing is saved"),
        ("{", "settings of the training .* cannot be read"),
        ({"request": {"source": "/etc", "output": "/etc"}}, "cannot be read"),
        ({"version": "0.3"}, "was begun by MedLLMSeg 0.3"),
        ({"start_sha256": "0" * 64}, "is not the one that"),
    ],
)
def test_one_that_cannot_go_on_is_kept_and_says_why(add_pair, logic, client, cache, change, words):
    begin_and_break_off(logic, client, [add_pair(n) for n in range(2)])
    path, name = cache / "trainings" / "x" / IDENTITY, "x" if change else "another"
    if isinstance(change, str):
        path.write_text(change)
    elif change:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    asked = len(client.requests)
    job = take_along(logic, logic.goOnTrainingAsync(name))
    assert job.state == "failed"
    assert re.search(words, job.message)
    assert len(client.requests) == asked
    assert unfinished() == ("x",)


def test_a_training_is_broken_off_when_it_was_saved_and_nobody_runs_it(
    add_pair, logic, client, cache
):
    pairs = [add_pair(n) for n in range(2)]
    begin_and_break_off(logic, client, pairs)
    assert broken_off() == ("x",)
    client.hold = "segment"
    job = logic.trainAsync(pairs, "x")
    take_along(logic, job, in_stage("segment"))
    assert unfinished() == ("x",)
    assert broken_off() == ()  # it is going on
    client.hold = None
    take_along(logic, job)
    assert broken_off() == ()


def test_a_run_that_is_half_removed_when_slicer_is_killed_is_none(tmp_path, monkeypatch):
    resume_or_reset(tmp_path, {"minutes": 1})
    (tmp_path / "run").mkdir()

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        resume_or_reset(tmp_path, {"minutes": 2})
    assert not (tmp_path / IDENTITY).exists()


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
    assert take_along(logic, job).kept == ""
    assert unfinished() == ()


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

    assert checkpoint.LAST == SAVED
    assert (run / SAVED).exists()
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
    assert job.state == "failed"
    assert (job.kept == "") is (which < 4)
    assert ("was discarded" in job.message) is (which < 4)
    assert unfinished() == (() if which < 4 else ("x",))
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
        mask = two_masks()[0] * 0
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
    assert second.state == "failed"
    assert "being trained already" in second.message
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
