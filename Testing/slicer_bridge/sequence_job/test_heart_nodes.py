"""A cine of the heart gets a table of its function, and a chart of the volumes over the beat."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.metrics.heart_function import figures
from MedLLMSegLib.metrics.heart_intervals import FIELD, HeartIntervals
from MedLLMSegLib.metrics.measured_heart import measure_heart
from MedLLMSegLib.registry.catalogue import METADATA, measured_model, read_metadata
from MedLLMSegLib.slicer_bridge.scene.heart_chart import chart_of
from MedLLMSegLib.slicer_bridge.scene.heart_table import HEART
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import read_volume
from MedLLMSegLib.slicer_bridge.scene.volumes_table import VOLUMES
from Testing.helpers.heart_bundle import heart_bundle
from Testing.helpers.saved_scene import save_and_reload
from Testing.helpers.sequence_jobs import (
    TIMES,
    by_brightness,
    heart_by_brightness,
    node_list,
    table_columns,
)
from Testing.slicer_bridge.stand_in import OBLIQUE, take_along

BEAT = (300, 120, 200)  # full, empty, filling
VOXEL_ML = abs(np.linalg.det(OBLIQUE)) / 1000


@pytest.fixture
def cine(client, add_sequence):
    client.segment = heart_by_brightness
    return add_sequence(BEAT)


@pytest.fixture
def run(logic):
    """run(sequence, **options) -> its job, done"""

    def run(sequence, **options):
        job = take_along(logic, logic.segmentAsync(sequence, **options))
        assert job.state == "done", job.message
        return job

    return run


def values_of(node):
    columns = table_columns(node)
    return dict(zip(columns["Figure"], columns["Value"], strict=True))


def named(scene, text):
    return [name for _, name in node_list(scene) if text in name]


def sequences_of(scene):
    kind = "vtkMRMLSequenceNode"
    return [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]


def chart_beside(job):
    """The chart of a job's sequence of segmentations."""
    sequences = sequences_of(job.segmentationNode.GetScene())
    return next(filter(None, map(chart_of, sequences)), None)


def series_of(job):
    chart = chart_beside(job)
    return [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]


def test_the_table_holds_the_function_of_the_heart(cine, run):
    job = run(cine)
    assert job.heartNode.GetName() == "cine segmentation heart function"
    values = values_of(job.heartNode)
    assert (values["End-diastolic image"], values["End-systolic image"]) == (1, 2)
    assert values["LV end-diastolic volume"] == pytest.approx(300 * VOXEL_ML)
    assert values["LV stroke volume"] == pytest.approx(180 * VOXEL_ML)
    assert values["LV ejection fraction"] == pytest.approx(60)
    assert values["RV end-systolic volume"] == pytest.approx(130 * VOXEL_ML)
    assert values["RV ejection fraction"] == pytest.approx(100 * 45 / 175)
    assert values["LV myocardial mass"] == pytest.approx(120 * VOXEL_ML * 1.05)
    units = table_columns(job.heartNode)["Unit"]
    assert units[2:4] + units[-2:] == ["mL", "mL", "%", "g"]
    assert "Research use only" in job.heartNode.GetDescription()
    assert job.heart.left.ejection_percent == pytest.approx(60)


@pytest.mark.parametrize("case", ["known", "outside", "some structures"])
def test_the_intervals_of_the_measured_model_are_columns(client, cine, run, tmp_path, case):
    bundle = heart_bundle(tmp_path)
    metadata = read_metadata(bundle)
    intervals = HeartIntervals({"LV stroke volume": 1.25}, {"LV ejection fraction": 7.5}, 0.9, 20)
    entry = {"measured_model": measured_model(metadata).sha256, **intervals.to_dict()}
    (bundle / METADATA).write_text(json.dumps({**metadata, FIELD: entry}), encoding="utf-8")
    far = DomainVerdict(True, 9.0, 2.0, "its features lie far away")

    def outline(volume, model, **options):
        found = heart_by_brightness(volume, model, **options)
        return replace(found, domain=far if case == "outside" else None)

    client.segment = outline
    parts = ["left ventricle", "right ventricle", "myocardium"] if case == "some structures" else []
    job = run(cine, model=str(bundle), structures=parts)
    columns = table_columns(job.heartNode)
    if case != "known":
        assert "Low" not in columns
        return
    row = columns["Figure"].index("LV ejection fraction")
    assert (columns["Low"][row], columns["High"][row]) == pytest.approx((52.5, 67.5))
    row = columns["Figure"].index("LV stroke volume")
    assert columns["High"][row] == pytest.approx(1.25 * 180 * VOXEL_ML)
    assert np.isnan(columns["Low"][columns["Figure"].index("RV ejection fraction")])
    assert "60 % (52.5 to 67.5)" in " ".join(job.sentences)


def test_the_figures_are_those_of_the_command_line(cine, run):
    volumes = [read_volume(cine.GetNthDataNode(n)) for n in range(3)]
    maps = [heart_by_brightness(volume, "m").labels for volume in volumes]
    wanted = [row.value for row in figures(measure_heart(maps).function)]
    assert list(values_of(run(cine).heartNode).values())[2:] == pytest.approx(wanted)


def test_a_saved_scene_keeps_table_and_chart(scene, cine, run, tmp_path):
    for n in range(3):  # files hold no sheared grid
        cine.GetNthDataNode(n).SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.eye(4)))
    wanted = values_of(run(cine).heartNode)
    save_and_reload(scene, tmp_path)
    sequence = next(filter(HEART.of, sequences_of(scene)))
    assert values_of(HEART.of(sequence)) == pytest.approx(wanted)
    series = [chart_of(sequence).GetNthPlotSeriesNode(n) for n in range(2)]
    assert [each.GetTableNode() for each in series] == [VOLUMES.of(sequence)] * 2


def test_height_and_weight_give_the_figures_by_body_surface(cine, logic, run):
    job = run(cine, heightCm=180, weightKg=80)  # 2 m2 by Mosteller
    columns, values = table_columns(job.heartNode), values_of(job.heartNode)
    indexed = dict(zip(columns["Figure"], columns["By body surface"], strict=True))
    units = dict(zip(columns["Figure"], columns["Unit by body surface"], strict=True))
    for name, unit in (("LV stroke volume", "mL/m²"), ("LV myocardial mass", "g/m²")):
        assert (indexed[name], units[name]) == (pytest.approx(values[name] / 2), unit)
    assert np.isnan(indexed["LV ejection fraction"])
    assert units["LV ejection fraction"] == ""
    logic.restore(run(cine, segmentationNode=job.segmentationNode).segmentationNode)
    assert "By body surface" in table_columns(job.heartNode)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"heightCm": 180}, "needed together"), ({"heightCm": 1.8, "weightKg": 80}, "height is 1.8")],
)
def test_what_no_person_has_is_refused_at_once(cine, logic, client, given, said):
    with pytest.raises(UserError, match=said):
        logic.segment(cine, **given)
    assert not client.requests


def test_it_lies_in_the_study_of_the_scan(scene, client, shown, run):
    client.segment = heart_by_brightness
    hierarchy, scan = scene.GetSubjectHierarchyNode(), shown[1].GetProxyNode(shown[0])
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, scan)
    job = run(shown[0])
    for node in (job.heartNode, chart_beside(job), *series_of(job)):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_the_chart_draws_both_ventricles_over_time(cine, run):
    job = run(cine)
    left, right = series_of(job)
    assert chart_beside(job).GetXAxisTitle() == left.GetXColumnName() == "time (s)"
    assert (left.GetName(), right.GetName()) == ("Left ventricle (cavity)", "Right ventricle")
    for series, voxels in ((left, BEAT), (right, (175, 130, 150))):
        assert series.GetTableNode() is job.tableNode
        drawn = table_columns(job.tableNode)[series.GetYColumnName()]
        assert drawn == pytest.approx([each * VOXEL_ML for each in voxels])


def test_a_chart_of_images_whose_index_is_text(cine, run):
    cine.SetIndexType(cine.TextIndex)
    left, _right = series_of(run(cine))
    assert (left.GetPlotType(), left.GetLabelColumnName()) == (left.PlotTypeLine, "time (s)")


def test_other_organs_have_no_function(scene, shown, run):
    job = run(shown[0])
    assert (job.heart, job.heartNode, chart_beside(job)) == (None, None, None)
    assert not any("heart" in note for note in job.notes)
    assert not named(scene, "heart")


def test_structures_that_were_not_asked_for_give_no_function(scene, cine, run):
    job = run(cine, structures=["left ventricle"])
    assert job.heartNode is None
    assert len(job.rows) == 1
    assert not named(scene, "heart")


@pytest.mark.parametrize(("brightest", "images"), [((300, 50, 50), 3), ((300, 120, 200), 1)])
def test_too_little_of_a_heart_is_a_note(scene, client, add_sequence, run, brightest, images):
    client.segment = heart_by_brightness
    sequence = add_sequence(brightest)
    for value in TIMES[images:]:
        sequence.RemoveDataNodeAtValue(value)
    job = run(sequence)
    assert job.heartNode is None
    assert job.tableNode is not None
    note = "The heart's function is not available. A left ventricle was found in 1 of"
    assert job.notes[-1].startswith(f"{note} {images} images")
    assert not named(scene, "heart")


def test_what_makes_a_figure_doubtful_is_a_note(client, add_sequence, run):
    client.segment = heart_by_brightness
    job = run(add_sequence((300, 200, 120)))
    assert "smallest in the last image" in job.notes[-1]


def test_a_second_run_replaces_it_and_restore_brings_it_back(scene, cine, logic, client, run):
    first = run(cine)
    before, count = values_of(first.heartNode), scene.GetNumberOfNodes()
    client.segment = lambda volume, model, **more: heart_by_brightness(
        volume.with_array(volume.array * 2), model, **more
    )
    second = run(cine, segmentationNode=first.segmentationNode, model="another")
    assert second.heartNode is first.heartNode
    assert scene.GetNumberOfNodes() == count
    after = values_of(second.heartNode)
    assert after["LV stroke volume"] == pytest.approx(2 * before["LV stroke volume"])
    assert first.heartNode.GetDescription().startswith("another: ")
    for expected in (before, after, before):
        logic.restore(first.segmentationNode)
        assert values_of(first.heartNode) == expected
        assert scene.GetNumberOfNodes() == count
        assert [series.GetTableNode() for series in series_of(first)] == [first.tableNode] * 2
    assert not first.heartNode.GetDescription().startswith("another: ")


def test_a_run_of_another_organ_takes_it_away_until_it_is_restored(scene, cine, logic, client, run):
    first = run(cine)
    before, count = values_of(first.heartNode), scene.GetNumberOfNodes()
    client.segment = by_brightness
    run(cine, segmentationNode=first.segmentationNode)
    gone = scene.GetNumberOfNodes()
    assert not named(scene, "heart")
    assert gone == count - 4  # table, chart, two curves
    logic.restore(first.segmentationNode)
    assert values_of(first.heartNode) == before
    assert named(scene, "heart function") == ["cine segmentation heart function"]
    assert [series.GetTableNode() for series in series_of(first)] == [first.tableNode] * 2
    assert scene.GetNumberOfNodes() == count
    logic.restore(first.segmentationNode)
    assert scene.GetNumberOfNodes() == gone


def test_restore_takes_it_away_where_there_was_none(scene, cine, logic, client, run):
    client.segment = by_brightness
    first = run(cine)
    count, client.segment = scene.GetNumberOfNodes(), heart_by_brightness
    second = run(cine, segmentationNode=first.segmentationNode)
    wanted = values_of(second.heartNode)
    logic.restore(first.segmentationNode)
    assert scene.GetNumberOfNodes() == count
    logic.restore(first.segmentationNode)
    assert values_of(second.heartNode) == wanted
    assert len(series_of(second)) == 2


def test_what_the_user_deleted_stays_deleted(scene, cine, logic, run):
    first = run(cine)
    count = scene.GetNumberOfNodes()
    second = run(cine, segmentationNode=first.segmentationNode)
    scene.RemoveNode(second.heartNode)
    scene.RemoveNode(chart_beside(second))
    logic.restore(first.segmentationNode)
    assert scene.GetNumberOfNodes() == count - 4  # the chart's curves went, too
    third = run(cine, segmentationNode=first.segmentationNode)
    assert scene.GetNumberOfNodes() == count
    assert third.heartNode is not second.heartNode
    assert len(series_of(third)) == 2


def test_a_table_that_came_back_and_was_deleted_then_stays_deleted(scene, cine, logic, client, run):
    first = run(cine)
    client.segment = by_brightness
    run(cine, segmentationNode=first.segmentationNode)
    logic.restore(first.segmentationNode)  # the heart comes back
    assert first.heartNode.GetScene() is scene
    client.segment = heart_by_brightness
    run(cine, segmentationNode=first.segmentationNode)
    logic.restore(first.segmentationNode)
    scene.RemoveNode(first.heartNode)  # by the user
    logic.restore(first.segmentationNode)
    assert not named(scene, "heart")


def test_without_its_table_of_volumes_there_is_no_chart(scene, cine, logic, run):
    first = run(cine)
    second = run(cine, segmentationNode=first.segmentationNode)
    scene.RemoveNode(second.tableNode)  # by the user
    logic.restore(first.segmentationNode)
    assert chart_beside(second) is None
    assert named(scene, "heart") == [second.heartNode.GetName()]


def test_a_deleted_chart_alone_is_made_anew_by_the_next_run(scene, cine, logic, run):
    first = run(cine)
    count = scene.GetNumberOfNodes()
    scene.RemoveNode(chart_beside(first))
    second = run(cine, segmentationNode=first.segmentationNode)
    assert scene.GetNumberOfNodes() == count
    assert len(series_of(second)) == 2


def test_a_right_ventricle_that_is_found_later_gets_its_curve(scene, cine, logic, client, run):
    def left_alone(volume, model, **options):
        found = heart_by_brightness(volume, model, **options)
        labels = found.labels
        return replace(found, labels=labels.with_array(labels.array * (labels.array != 1)))

    client.segment = left_alone
    first = run(cine)
    assert np.isnan(values_of(first.heartNode)["RV ejection fraction"])
    assert len(series_of(first)) == 1
    client.segment = heart_by_brightness
    both = run(cine, segmentationNode=first.segmentationNode)
    assert len(series_of(both)) == 2
    logic.restore(first.segmentationNode)
    assert [series.GetName() for series in series_of(first)] == ["Left ventricle (cavity)"]
    assert not np.isnan(values_of(first.heartNode)["LV ejection fraction"])


@pytest.mark.parametrize("is_second_run", [False, True])
def test_a_failure_while_it_is_written_leaves_the_scene(
    scene, cine, logic, client, run, monkeypatch, is_second_run
):
    from MedLLMSegLib.slicer_bridge.scene import heart_nodes

    first = run(cine) if is_second_run else None
    there, before = node_list(scene), values_of(first.heartNode) if first else None
    monkeypatch.setattr(heart_nodes, "show_chart", lambda *arguments: 1 / 0)
    client.segment = lambda volume, model, **more: heart_by_brightness(
        volume.with_array(volume.array * 2), model, **more
    )
    node = first.segmentationNode if first else None
    job = take_along(logic, logic.segmentAsync(cine, segmentationNode=node))
    assert job.state == "failed"
    assert node_list(scene) == there
    assert first is None or values_of(first.heartNode) == before
