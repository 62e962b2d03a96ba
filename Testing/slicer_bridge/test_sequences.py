"""A series over time becomes a sequence of segmentations beside it in the same browser, on
Slicer's own sequence nodes.
"""

import tempfile

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from Testing.slicer_bridge.stand_in import (
    BALLS_RAS,
    GRID,
    OBLIQUE,
    BallSegmenter,
    StandInClient,
    in_stage,
    take_along,
)

TIMES = ("0", "0.1", "0.25")
TURN = np.array([[0.98, -0.17, 0, 3], [0.17, 0.98, 0, -2], [0, 0, 1, 1.5], [0, 0, 0, 1]])


def by_brightness(volume, model, **options):
    """More balls, the brighter the image: what is found says which image it was found in."""
    return BallSegmenter(balls=tuple(range(1, 1 + int(volume.array.max()) // 100)))(
        volume, model, **options
    )


@pytest.fixture
def client():
    return StandInClient(by_brightness)


@pytest.fixture
def logic(client, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    logic = SegmentationLogic(makeClient=lambda: client)
    yield logic
    logic.close()


@pytest.fixture
def add_sequence(scene):
    """add_sequence(brightest values) -> vtkMRMLSequenceNode of volumes"""

    def add(brightest=(100, 200, 300)):
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
        sequence.SetIndexName("time")
        sequence.SetIndexUnit("s")
        for value, high in zip(TIMES, brightest):
            volume = slicer.vtkMRMLScalarVolumeNode()
            array = np.zeros(GRID, np.int16)
            array[0, 0, 0] = high
            slicer.util.updateVolumeFromArray(volume, array)
            volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(OBLIQUE))
            sequence.SetDataNodeAtValue(volume, value)
        return sequence

    return add


@pytest.fixture
def shown(scene, add_sequence):
    """(sequence, its browser)"""
    sequence = add_sequence()
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "cine browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return sequence, browser


def names(node):
    return [
        node.GetSegmentation().GetSegment(i).GetName()
        for i in node.GetSegmentation().GetSegmentIDs()
    ]


def nodes(scene):
    return [
        (scene.GetNthNode(n).GetID(), scene.GetNthNode(n).GetName())
        for n in range(scene.GetNumberOfNodes())
    ]


@pytest.mark.parametrize("given", ["sequence", "proxy"])
def test_each_image_gets_its_own_segmentation(scene, shown, logic, given):
    sequence, browser = shown
    scan = browser.GetProxyNode(sequence)
    node = logic.segment(sequence if given == "sequence" else scan)
    result = browser.GetSequenceNode(node)
    assert browser.IsSynchronizedSequenceNode(result) and browser.GetProxyNode(result) is node
    assert (result.GetName(), node.IsA("vtkMRMLSegmentationNode")) == ("cine segmentation", True)
    assert (result.GetIndexName(), result.GetIndexUnit(), result.GetNumberOfDataNodes()) == (
        "time",
        "s",
        3,
    )
    for n, value in enumerate(TIMES):
        assert result.GetNthIndexValue(n) == value
        browser.SetSelectedItemNumber(n)
        assert len(names(node)) == n + 1  # the proxy follows the browser
        array = slicer.util.arrayFromSegmentBinaryLabelmap(
            node, node.GetSegmentation().GetNthSegmentID(0), scan
        )
        assert array.shape == GRID and array.any()
        centre = np.array(node.GetSegmentCenterRAS(node.GetSegmentation().GetNthSegmentID(0)))
        assert np.linalg.norm(centre - BALLS_RAS[1]) < 2.5
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is scan
    assert node.GetDisplayNode() is not None


def test_progress_runs_over_all_images_and_rows_are_means(shown, logic):
    told = []
    job = logic.segmentAsync(shown[0], lambda *how: told.append(how))
    take_along(logic, job)
    fractions = [fraction for _, fraction, _ in told]
    assert fractions == sorted(fractions) and fractions[0] == 0 and 0.9 < fractions[-1] <= 1
    assert told[0][0] == "1 of 3: start" and told[-1][0] == "3 of 3: done"
    assert {len(rows) for rows in job.itemRows.values()} == {1, 2, 3} and tuple(
        job.itemRows
    ) == TIMES
    volumes = [rows[0][1] for rows in job.itemRows.values()]
    assert (
        job.rows[0][:2] == ("Left hippocampus (anterior)", pytest.approx(np.mean(volumes)))
        and len(job.rows) == 3
    )
    assert job.notes == (
        "A note.",
        (
            'Volumes are means over 3 images; those of each are in the table "cine segmentation'
            ' volumes".'
        ),
    )


def table_of(node):
    """Column -> values of a vtkMRMLTableNode."""
    table = node.GetTable()
    columns = [table.GetColumn(n) for n in range(table.GetNumberOfColumns())]
    return {
        column.GetName(): [column.GetValue(row) for row in range(column.GetNumberOfTuples())]
        for column in columns
    }


def tables(scene):
    return [
        scene.GetNthNodeByClass(n, "vtkMRMLTableNode")
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLTableNode"))
    ]


def test_the_volumes_over_time_are_a_table_beside_it(scene, shown, logic):
    hierarchy = scene.GetSubjectHierarchyNode()
    scan = shown[1].GetProxyNode(shown[0])
    hierarchy.CreateItem(
        study := hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study"), scan
    )
    job = take_along(logic, logic.segmentAsync(shown[0]))
    assert (
        tables(scene) == [job.tableNode] and job.tableNode.GetName() == "cine segmentation volumes"
    )
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(job.tableNode)) == study
    found = table_of(job.tableNode)
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
        assert volumes == [row.get(name, 0) for row in rows] and volumes[-1] > 0
    assert found["Right hippocampus (anterior) (mL)"][:2] == [0, 0]


def test_a_table_of_values_that_are_no_numbers(shown, logic):
    shown[0].SetIndexType(shown[0].TextIndex)
    shown[0].SetIndexUnit("")
    found = table_of(take_along(logic, logic.segmentAsync(shown[0])).tableNode)
    assert found["time"] == list(TIMES)


def test_a_second_run_replaces_the_table_and_restore_brings_it_back(scene, shown, logic, client):
    first = take_along(logic, logic.segmentAsync(shown[0]))
    before, count = table_of(first.tableNode), scene.GetNumberOfNodes()
    client.segment = BallSegmenter(radius_mm=3)
    second = take_along(
        logic, logic.segmentAsync(shown[0], segmentationNode=first.segmentationNode)
    )
    assert second.tableNode is first.tableNode and scene.GetNumberOfNodes() == count
    after = table_of(second.tableNode)
    assert (
        len(after) == 5
        and after["Left hippocampus (anterior) (mL)"][0]
        < before["Left hippocampus (anterior) (mL)"][0]
    )
    logic.restore(first.segmentationNode)
    assert table_of(first.tableNode) == before
    logic.restore(first.segmentationNode)
    assert table_of(first.tableNode) == after
    scene.RemoveNode(first.tableNode)
    again = take_along(logic, logic.segmentAsync(shown[0], segmentationNode=first.segmentationNode))
    assert tables(scene) == [again.tableNode]


def test_restore_leaves_no_table_of_other_segmentations(scene, shown, logic, client):
    first = take_along(logic, logic.segmentAsync(shown[0]))
    scene.RemoveNode(first.tableNode)  # by the user
    count, client.segment = scene.GetNumberOfNodes(), BallSegmenter(radius_mm=3)
    second = take_along(
        logic, logic.segmentAsync(shown[0], segmentationNode=first.segmentationNode)
    )
    wanted = table_of(second.tableNode)
    logic.restore(first.segmentationNode)
    assert not tables(scene) and scene.GetNumberOfNodes() == count
    logic.restore(first.segmentationNode)  # which undoes the first
    assert [table_of(node) for node in tables(scene)] == [wanted]
    logic.restore(first.segmentationNode)
    assert not tables(scene)


def test_index_values_that_are_no_numbers_after_all_are_texts(scene, shown, logic):
    sequence = shown[0]
    assert sequence.GetIndexType() == sequence.NumericIndex
    sequence.SetDataNodeAtValue(sequence.GetNthDataNode(2), "12 ms")
    job = take_along(logic, logic.segmentAsync(sequence))
    assert job.state == "done", job.message
    assert table_of(job.tableNode)["time (s)"] == [*TIMES, "12 ms"]


def test_a_failure_while_a_sequence_is_updated_leaves_its_items_and_table(
    scene, shown, logic, client, monkeypatch
):
    from MedLLMSegLib.slicer_bridge.scene import sequence_output

    first = take_along(logic, logic.segmentAsync(shown[0]))
    before = [
        names(first.segmentationNode) for n in range(3) if not shown[1].SetSelectedItemNumber(n)
    ]
    there, volumes, client.segment = (
        nodes(scene),
        table_of(first.tableNode),
        BallSegmenter(balls=(4,)),
    )
    monkeypatch.setattr(sequence_output, "name_map", lambda *arguments: 1 / 0)
    job = take_along(
        logic,
        logic.segmentAsync(shown[0], segmentationNode=first.segmentationNode, uncertainty=True),
    )
    assert job.state == "failed" and nodes(scene) == there and table_of(first.tableNode) == volumes
    assert [
        names(first.segmentationNode) for n in range(3) if not shown[1].SetSelectedItemNumber(n)
    ] == before


def test_the_table_survives_its_file(scene, shown, logic, tmp_path):
    job = take_along(logic, logic.segmentAsync(shown[0]))
    wanted = table_of(job.tableNode)
    storage = scene.AddNewNodeByClass("vtkMRMLTableStorageNode")
    storage.SetFileName(str(tmp_path / "volumes.tsv"))
    assert storage.WriteData(job.tableNode)
    fresh = slicer.vtkMRMLTableNode()
    assert storage.ReadData(fresh) and list(table_of(fresh)) == list(wanted)
    for name, values in table_of(fresh).items():
        np.testing.assert_allclose(values, wanted[name], rtol=1e-4)


def test_a_sequence_without_a_browser_gets_one(scene, add_sequence, logic):
    sequence = add_sequence()
    node = logic.segment(sequence)
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)
    assert (
        browser.GetProxyNode(sequence) is not None and browser.GetSequenceNode(node) is not sequence
    )


def test_it_lies_where_the_scan_lies_and_in_its_study(scene, shown, logic, add_transform):
    sequence, browser = shown
    scan, hierarchy = browser.GetProxyNode(sequence), scene.GetSubjectHierarchyNode()
    scan.SetAndObserveTransformNodeID(add_transform(TURN).GetID())
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "a study")
    hierarchy.CreateItem(study, scan)
    node = logic.segment(scan)
    assert node.GetTransformNodeID() == scan.GetTransformNodeID()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    centre = np.array(node.GetSegmentCenterRAS(node.GetSegmentation().GetNthSegmentID(0)))
    to_world = slicer.util.arrayFromVTKMatrix(_to_world(node))
    assert (
        np.linalg.norm((to_world @ (*centre, 1))[:3] - BALLS_RAS[1]) < 2.5
        or np.linalg.norm(centre - BALLS_RAS[1]) < 2.5
    )


def _to_world(node):
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    node.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    return matrix


def test_the_image_that_is_shown_can_be_segmented_alone(scene, shown, logic):
    sequence, browser = shown
    browser.SetSelectedItemNumber(1)
    node = logic.segment(browser.GetProxyNode(sequence), wholeSequence=False)
    assert len(names(node)) == 2 and browser.GetSequenceNode(node) is None
    browser.SetSelectedItemNumber(2)
    assert len(names(node)) == 2


def test_what_is_edited_stays_with_its_image(shown, logic):
    sequence, browser = shown
    node = logic.segment(sequence)
    browser.SetSelectedItemNumber(2)
    node.GetSegmentation().GetNthSegment(0).SetName("edited")
    browser.SetSelectedItemNumber(0)
    assert "edited" not in names(node)
    browser.SetSelectedItemNumber(2)
    assert "edited" in names(node)


def test_a_second_run_updates_the_sequence_keeps_other_segments_and_can_be_taken_back(
    scene, shown, logic, client
):
    sequence, browser = shown
    node = logic.segment(sequence)
    browser.SetSelectedItemNumber(1)
    node.GetSegmentation().AddEmptySegment("mine", "tumour")
    before = [names(node) for n in range(3) if not browser.SetSelectedItemNumber(n)]
    count, client.segment = scene.GetNumberOfNodes(), BallSegmenter(balls=(4,))
    assert logic.segment(sequence, node) is node and scene.GetNumberOfNodes() == count
    after = [names(node) for n in range(3) if not browser.SetSelectedItemNumber(n)]
    assert after == [
        ["Right hippocampus (posterior)"],
        ["tumour", "Right hippocampus (posterior)"],
        ["Right hippocampus (posterior)"],
    ]
    for expected in (before, after, before):
        logic.restore(node)
        assert [names(node) for n in range(3) if not browser.SetSelectedItemNumber(n)] == expected


def test_a_single_segmentation_cannot_take_a_sequence(scene, shown, logic, client):
    single = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "single")
    with pytest.raises(UserError, match='"single" is one segmentation'):
        logic.segment(shown[0], single)
    assert not client.requests


def test_images_without_the_organ_are_named_and_an_empty_series_is_refused(
    scene, add_sequence, logic
):
    job = take_along(logic, logic.segmentAsync(add_sequence((50, 100, 50))))
    assert (
        job.state == "done" and job.notes[-1] == "Nothing was found in 2 of them (time s 0, 0.25)."
    )
    before = nodes(scene)
    job = take_along(logic, logic.segmentAsync(add_sequence((50, 50, 50))))
    assert job.state == "failed" and "Nothing was found in any image" in job.message
    assert (
        nodes(scene)[: len(before)] == before and len(nodes(scene)) == len(before) + 1
    )  # the new input alone


def test_uncertainty_maps_are_a_sequence_too(scene, shown, logic):
    sequence, browser = shown
    job = take_along(logic, logic.segmentAsync(sequence, uncertainty=True))
    shown_map = logic.showUncertainty(job)
    assert (
        shown_map is job.uncertaintyNode
        and browser.GetSequenceNode(shown_map).GetNumberOfDataNodes() == 3
    )
    sums = [
        slicer.util.arrayFromVolume(shown_map).sum()
        for n in range(3)
        if not browser.SetSelectedItemNumber(n)
    ]
    assert 0 < sums[0] < sums[1] < sums[2]


@pytest.mark.parametrize("image", [1, 2, 3])
def test_cancel_in_any_image_leaves_the_scene_as_it_was(scene, shown, logic, client, image):
    before = nodes(scene)
    job = logic.segmentAsync(shown[0])
    take_along(logic, job, lambda job: job.stage == f"{image} of 3: segment")
    logic.cancel(job)
    take_along(logic, job)
    assert job.state == "cancelled" and nodes(scene) == before and len(client.requests) == image


def test_a_failure_when_all_is_written_leaves_the_scene_as_it_was(
    scene, shown, add_sequence, logic, monkeypatch
):
    from MedLLMSegLib.slicer_bridge.scene import sequence_output

    sequence = add_sequence()  # one with a browser, one without
    before = nodes(scene)
    monkeypatch.setattr(sequence_output, "name_map", lambda *arguments: 1 / 0)
    for given in (shown[0], sequence):
        job = take_along(logic, logic.segmentAsync(given))
        assert (
            job.state == "failed" and "ZeroDivisionError" in job.message and nodes(scene) == before
        )


def test_the_browser_may_be_moved_and_the_scene_closed_meanwhile(scene, shown, logic, client):
    sequence, browser = shown
    job = logic.segmentAsync(sequence)
    for n in (1, 2):
        take_along(logic, job, lambda job: job.stage == f"{n} of 3: read")
        browser.SetSelectedItemNumber(n)
    take_along(logic, job)
    assert [len(rows) for rows in job.itemRows.values()] == [1, 2, 3]
    client.hold = "segment"
    job = logic.segmentAsync(sequence)
    take_along(logic, job, in_stage("1 of 3: segment"))
    scene.Clear(0)
    take_along(logic, job)
    assert job.state == "cancelled" and "removed" in job.message
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0


def test_an_image_that_is_removed_meanwhile_ends_the_run(scene, shown, logic):
    before = nodes(scene)
    job = logic.segmentAsync(shown[0])
    take_along(logic, job, in_stage("1 of 3: segment"))
    shown[0].RemoveDataNodeAtValue(TIMES[2])
    take_along(logic, job)
    assert (
        job.state == "cancelled"
        and "An image of the sequence" in job.message
        and nodes(scene) == before
    )


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
    assert '"dce" holds 30 values in each voxel' in str(refusal.value) and "as a sequence" in str(
        refusal.value
    )
    assert str(refusal.value).count(". ") == 0
