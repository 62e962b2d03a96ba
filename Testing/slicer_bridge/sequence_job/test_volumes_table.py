"""The volumes over time are a table beside the sequence."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from Testing.helpers.sequence_jobs import (
    TIMES,
    node_list,
    segment_names,
    table_columns,
    table_nodes,
)
from Testing.slicer_bridge.stand_in import (
    BallSegmenter,
    take_along,
)


def test_the_volumes_over_time_are_a_table_beside_it(scene, shown, logic):
    hierarchy = scene.GetSubjectHierarchyNode()
    scan = shown[1].GetProxyNode(shown[0])
    hierarchy.CreateItem(
        study := hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study"), scan
    )
    job = take_along(logic, logic.segmentAsync(shown[0]))
    assert table_nodes(scene) == [job.tableNode]
    assert job.tableNode.GetName() == "cine segmentation volumes"
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(job.tableNode)) == study
    found = table_columns(job.tableNode)
    assert list(found) == [
        "time (s)",
        "Left hippocampus (anterior) (mL)",
        "Left hippocampus (posterior) (mL)",
        "Right hippocampus (anterior) (mL)",
    ]
    assert found["time (s)"] == [0, 0.1, 0.25]
    for name, volumes in list(found.items())[1:]:
        rows = [
            dict((f"{each} (mL)", ml) for each, ml, _ in job.itemRows[value]) for value in TIMES
        ]
        assert volumes == [row.get(name, 0) for row in rows]
        assert volumes[-1] > 0
    assert found["Right hippocampus (anterior) (mL)"][:2] == [0, 0]


def test_a_table_of_values_that_are_no_numbers(shown, logic):
    shown[0].SetIndexType(shown[0].TextIndex)
    shown[0].SetIndexUnit("")
    found = table_columns(take_along(logic, logic.segmentAsync(shown[0])).tableNode)
    assert found["time"] == list(TIMES)


def test_a_second_run_replaces_the_table_and_restore_brings_it_back(scene, shown, logic, client):
    first = take_along(logic, logic.segmentAsync(shown[0]))
    before, count = table_columns(first.tableNode), scene.GetNumberOfNodes()
    client.segment = BallSegmenter(radius_mm=3)
    second = take_along(
        logic, logic.segmentAsync(shown[0], segmentationNode=first.segmentationNode)
    )
    assert second.tableNode is first.tableNode
    assert scene.GetNumberOfNodes() == count
    after = table_columns(second.tableNode)
    assert len(after) == 5
    assert (
        after["Left hippocampus (anterior) (mL)"][0] < before["Left hippocampus (anterior) (mL)"][0]
    )
    logic.restore(first.segmentationNode)
    assert table_columns(first.tableNode) == before
    logic.restore(first.segmentationNode)
    assert table_columns(first.tableNode) == after
    scene.RemoveNode(first.tableNode)
    again = take_along(logic, logic.segmentAsync(shown[0], segmentationNode=first.segmentationNode))
    assert table_nodes(scene) == [again.tableNode]


def test_restore_leaves_no_table_of_other_segmentations(scene, shown, logic, client):
    first = take_along(logic, logic.segmentAsync(shown[0]))
    scene.RemoveNode(first.tableNode)  # by the user
    count, client.segment = scene.GetNumberOfNodes(), BallSegmenter(radius_mm=3)
    second = take_along(
        logic, logic.segmentAsync(shown[0], segmentationNode=first.segmentationNode)
    )
    wanted = table_columns(second.tableNode)
    logic.restore(first.segmentationNode)
    assert not table_nodes(scene)
    assert scene.GetNumberOfNodes() == count
    logic.restore(first.segmentationNode)  # which undoes the first
    assert [table_columns(node) for node in table_nodes(scene)] == [wanted]
    logic.restore(first.segmentationNode)
    assert not table_nodes(scene)


def test_index_values_that_are_no_numbers_after_all_are_texts(scene, shown, logic):
    sequence = shown[0]
    assert sequence.GetIndexType() == sequence.NumericIndex
    sequence.SetDataNodeAtValue(sequence.GetNthDataNode(2), "12 ms")
    job = take_along(logic, logic.segmentAsync(sequence))
    assert job.state == "done", job.message
    assert table_columns(job.tableNode)["time (s)"] == [*TIMES, "12 ms"]


def test_a_failure_while_a_sequence_is_updated_leaves_its_items_and_table(
    scene, shown, logic, client, monkeypatch
):
    from MedLLMSegLib.slicer_bridge.scene import sequence_output

    first = take_along(logic, logic.segmentAsync(shown[0]))
    before = [
        segment_names(first.segmentationNode)
        for n in range(3)
        if not shown[1].SetSelectedItemNumber(n)
    ]
    there, volumes, client.segment = (
        node_list(scene),
        table_columns(first.tableNode),
        BallSegmenter(balls=(4,)),
    )
    monkeypatch.setattr(sequence_output, "name_map", lambda *arguments: 1 / 0)
    job = take_along(
        logic,
        logic.segmentAsync(shown[0], segmentationNode=first.segmentationNode, uncertainty=True),
    )
    assert job.state == "failed"
    assert node_list(scene) == there
    assert table_columns(first.tableNode) == volumes
    assert [
        segment_names(first.segmentationNode)
        for n in range(3)
        if not shown[1].SetSelectedItemNumber(n)
    ] == before


def test_the_table_survives_its_file(scene, shown, logic, tmp_path):
    job = take_along(logic, logic.segmentAsync(shown[0]))
    wanted = table_columns(job.tableNode)
    storage = scene.AddNewNodeByClass("vtkMRMLTableStorageNode")
    storage.SetFileName(str(tmp_path / "volumes.tsv"))
    assert storage.WriteData(job.tableNode)
    fresh = slicer.vtkMRMLTableNode()
    assert storage.ReadData(fresh)
    assert list(table_columns(fresh)) == list(wanted)
    for name, values in table_columns(fresh).items():
        np.testing.assert_allclose(values, wanted[name], rtol=1e-4)
