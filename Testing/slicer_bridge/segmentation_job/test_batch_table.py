"""One table of all scans of a batch."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.slicer_bridge.logic.jobs import ScanOfBatch
from MedLLMSegLib.slicer_bridge.scene.batch_table import batch_table_of, table_of_batch
from Testing.helpers.saved_scene import save_and_reload
from Testing.helpers.sequence_jobs import table_columns, table_nodes
from Testing.slicer_bridge.stand_in import GRID, OBLIQUE, BallSegmenter, in_stage, take_along

LEFT, RIGHT = "Left hippocampus (anterior) (mL)", "Right hippocampus (anterior) (mL)"


def fewer_in_dark_scans(volume, model, **options):
    """Balls on the left alone in a scan whose brightest voxel is below 100."""
    balls = (1, 2) if volume.array.max() < 100 else (1, 2, 3, 4)
    return BallSegmenter(balls=balls)(volume, model, **options)


def judged(volume, model, **options):
    found = fewer_in_dark_scans(volume, model, **options)
    odd = Quality("amber", ("it is small",)) if volume.array.max() < 100 else Quality()
    return Segmentation(
        found.labels, found.structures, found.confidence, model=model, quality=ScanQuality(odd)
    )


@pytest.fixture
def client(client):
    client.segment = fewer_in_dark_scans
    return client


@pytest.fixture
def scans(add_volume):
    array = np.random.default_rng(0).integers(0, 400, GRID).astype(np.int16)
    return [
        add_volume(array // dark, OBLIQUE, name)
        for name, dark in (("dark", 5), ("bright", 1), ("brighter", 1))
    ]


@pytest.fixture
def run(logic):
    def run(scans, model="hippocampus-t1"):
        job = logic.segmentAllAsync(scans, model=model)
        take_along(logic, job)
        assert job.state == "done", job.message
        return job

    return run


def test_the_table_has_a_row_a_scan_and_a_column_a_structure(scene, scans, run):
    job = run(scans)
    columns = table_columns(job.batchNode)
    assert job.batchNode.GetName() == "hippocampus-t1 volumes of all scans"
    assert columns["Scan"] == ["dark", "bright", "brighter"]
    assert columns["Model"] == ["hippocampus-t1"] * 3
    assert columns["Note"] == ["A note."] * 3
    assert "Light" not in columns  # the model has none
    assert list(columns)[3:] == [
        f"{side} hippocampus ({part}) (mL)"
        for side in ("Left", "Right")
        for part in ("anterior", "posterior")
    ]
    one = {name: ml for name, ml, _ in job.rows}["Left hippocampus (anterior)"]
    assert columns[LEFT] == pytest.approx([one] * 3)
    assert columns[RIGHT][0] == 0  # not found there
    assert min(columns[RIGHT][1:]) > 0
    assert "3 of 3 scans" in job.batchNode.GetDescription()
    assert len(table_nodes(scene)) == 4  # and each scan's own


def test_lights_stand_there_where_the_model_has_them(scans, client, run):
    client.segment = judged
    assert table_columns(run(scans).batchNode)["Light"] == ["amber", "green", "green"]


def test_a_scan_that_fails_has_a_row_with_the_reason_and_no_volumes(scans, run):
    flat = slicer.util.addVolumeFromArray(np.ones((1, 8, 8), np.int16), name="X-ray")
    job = run([flat, scans[1], flat])
    columns = table_columns(job.batchNode)
    assert "flat image" in columns["Note"][0]
    assert columns["Note"][1] == "A note."
    assert np.isnan(columns[LEFT][0]) and columns[LEFT][1] > 0 and np.isnan(columns[LEFT][2])
    assert "1 of 3 scans" in job.batchNode.GetDescription()


def test_the_next_batch_replaces_it_and_restore_brings_it_back(scene, scans, logic, run):
    first = run(scans)
    assert not logic.canRestore(first.batchNode)  # nothing was overwritten
    before = table_columns(first.batchNode)
    second = run(scans[1:])
    assert second.batchNode is first.batchNode
    after = table_columns(second.batchNode)
    assert after["Scan"] == ["bright", "brighter"]
    for wanted in (before, after, before):
        logic.restore(second.batchNode)
        assert table_columns(second.batchNode) == wanted
    assert "3 of 3 scans" in second.batchNode.GetDescription()


def test_another_model_has_a_table_of_its_own(scene, scans, run):
    nodes = [run(scans[:1], model).batchNode for model in ("hippocampus-t1", "brain-mr")]
    assert nodes[0] is not nodes[1]
    assert [batch_table_of(scene, model) for model in ("hippocampus-t1", "brain-mr")] == nodes


def test_a_cancel_keeps_what_is_done_and_restore_the_batch_before(scans, logic, run):
    whole = table_columns(run(scans).batchNode)
    job = logic.segmentAllAsync(scans, model="hippocampus-t1")
    take_along(logic, job, lambda job: len(job.scans) == 1)
    take_along(logic, job, in_stage("segment"))
    logic.cancel(job)
    take_along(logic, job)
    assert job.state == "cancelled"
    assert table_columns(job.batchNode)["Scan"] == ["dark"]
    logic.restore(job.batchNode)
    assert table_columns(job.batchNode) == whole


def test_a_table_that_is_deleted_meanwhile_does_not_come_back(scene, scans, logic, run):
    job = logic.segmentAllAsync(scans)
    take_along(logic, job, lambda job: len(job.scans) == 1)
    scene.RemoveNode(job.batchNode)
    take_along(logic, job)
    assert job.state == "done", job.message
    assert len(table_nodes(scene)) == 3  # each scan's own


def test_the_columns_are_in_the_models_order():
    scans = [
        ScanOfBatch("one", object(), rows=(("a", 1.0, None), ("c", 1.0, None))),
        ScanOfBatch("two", object(), rows=(("a", 1.0, None), ("b", 2.0, None), ("c", 1.0, None))),
    ]
    table = table_of_batch(scans, "m")
    names = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert names == ["Scan", "Model", "Note", "a (mL)", "b (mL)", "c (mL)"]


def test_a_saved_scene_keeps_it_and_the_next_batch_finds_it(
    scene, add_volume, logic, run, tmp_path
):
    array = np.random.default_rng(0).integers(0, 400, GRID).astype(np.int16)
    names = ("a\ttab", 'é, "b"')
    square = np.array(OBLIQUE)  # files hold no sheared grid
    square[:3, :3] = np.diag(np.linalg.norm(square[:3, :3], axis=0))
    square[:3, 3] += (np.array(OBLIQUE) - square)[:3, :3] @ (np.array(GRID[::-1]) / 2)
    job = run([add_volume(array, square, name) for name in names])
    wanted = table_columns(job.batchNode)
    assert wanted["Scan"] == ["a tab", "é, 'b'"]
    save_and_reload(scene, tmp_path)
    found = table_columns(batch_table_of(scene, "hippocampus-t1"))
    assert list(found) == list(wanted)
    assert found["Scan"] == wanted["Scan"]
    assert [float(value) for value in found[LEFT]] == pytest.approx(wanted[LEFT])
