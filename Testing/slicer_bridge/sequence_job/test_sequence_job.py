"""A series over time becomes a sequence of segmentations in the same browser."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.scene.map_layer import layer_of
from MedLLMSegLib.slicer_bridge.scene.map_roles import is_map
from MedLLMSegLib.slicer_bridge.scene.overlay import uncertainty_of
from Testing.helpers.sequence_jobs import TIMES, node_list, segment_names
from Testing.slicer_bridge.stand_in import (
    BALLS_RAS,
    GRID,
    BallSegmenter,
    take_along,
)

TURN = np.array([[0.98, -0.17, 0, 3], [0.17, 0.98, 0, -2], [0, 0, 1, 1.5], [0, 0, 0, 1]])


@pytest.mark.parametrize("given", ["sequence", "proxy"])
def test_each_image_gets_its_own_segmentation(scene, shown, logic, given):
    sequence, browser = shown
    scan = browser.GetProxyNode(sequence)
    node = logic.segment(sequence if given == "sequence" else scan)
    result = browser.GetSequenceNode(node)
    assert browser.IsSynchronizedSequenceNode(result)
    assert browser.GetProxyNode(result) is node
    assert (result.GetName(), node.IsA("vtkMRMLSegmentationNode")) == ("cine segmentation", True)
    assert (result.GetIndexName(), result.GetIndexUnit(), result.GetNumberOfDataNodes()) == (
        "time",
        "s",
        3,
    )
    for n, value in enumerate(TIMES):
        assert result.GetNthIndexValue(n) == value
        browser.SetSelectedItemNumber(n)
        assert len(segment_names(node)) == n + 1  # the proxy follows the browser
        array = slicer.util.arrayFromSegmentBinaryLabelmap(
            node, node.GetSegmentation().GetNthSegmentID(0), scan
        )
        assert array.shape == GRID
        assert array.any()
        centre = np.array(node.GetSegmentCenterRAS(node.GetSegmentation().GetNthSegmentID(0)))
        assert np.linalg.norm(centre - BALLS_RAS[1]) < 2.5
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is scan
    assert node.GetDisplayNode() is not None


def test_progress_runs_over_all_images_and_rows_are_means(shown, logic):
    told = []
    job = logic.segmentAsync(shown[0], lambda *how: told.append(how))
    take_along(logic, job)
    fractions = [fraction for _, fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert 0.9 < fractions[-1] <= 1
    assert told[0][0] == "1 of 3: start"
    assert told[-1][0] == "3 of 3: done"
    assert {len(rows) for rows in job.itemRows.values()} == {1, 2, 3}
    assert tuple(job.itemRows) == TIMES
    volumes = [rows[0][1] for rows in job.itemRows.values()]
    assert job.rows[0][:2] == ("Left hippocampus (anterior)", pytest.approx(np.mean(volumes)))
    assert len(job.rows) == 3
    assert job.notes == (
        "A note.",
        (
            'Volumes are means over 3 images; those of each are in the table "cine segmentation'
            ' volumes".'
        ),
    )


def test_a_sequence_without_a_browser_gets_one(scene, add_sequence, logic):
    sequence = add_sequence()
    node = logic.segment(sequence)
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)
    assert browser.GetProxyNode(sequence) is not None
    assert browser.GetSequenceNode(node) is not sequence


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
    assert len(segment_names(node)) == 2
    assert browser.GetSequenceNode(node) is None
    browser.SetSelectedItemNumber(2)
    assert len(segment_names(node)) == 2


def test_what_is_edited_stays_with_its_image(shown, logic):
    sequence, browser = shown
    node = logic.segment(sequence)
    browser.SetSelectedItemNumber(2)
    node.GetSegmentation().GetNthSegment(0).SetName("edited")
    browser.SetSelectedItemNumber(0)
    assert "edited" not in segment_names(node)
    browser.SetSelectedItemNumber(2)
    assert "edited" in segment_names(node)


def test_a_second_run_updates_the_sequence_keeps_other_segments_and_can_be_taken_back(
    scene, shown, logic, client
):
    sequence, browser = shown
    node = logic.segment(sequence)
    browser.SetSelectedItemNumber(1)
    node.GetSegmentation().AddEmptySegment("mine", "tumour")
    before = [segment_names(node) for n in range(3) if not browser.SetSelectedItemNumber(n)]
    count, client.segment = scene.GetNumberOfNodes(), BallSegmenter(balls=(4,))
    assert logic.segment(sequence, node) is node
    assert scene.GetNumberOfNodes() == count
    after = [segment_names(node) for n in range(3) if not browser.SetSelectedItemNumber(n)]
    assert after == [
        ["Right hippocampus (posterior)"],
        ["tumour", "Right hippocampus (posterior)"],
        ["Right hippocampus (posterior)"],
    ]
    for expected in (before, after, before):
        logic.restore(node)
        assert [
            segment_names(node) for n in range(3) if not browser.SetSelectedItemNumber(n)
        ] == expected


def test_a_single_segmentation_cannot_take_a_sequence(scene, shown, logic, client):
    single = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "single")
    with pytest.raises(UserError, match='"single" is one segmentation'):
        logic.segment(shown[0], single)
    assert not client.requests


def test_images_without_the_organ_are_named_and_an_empty_series_is_refused(
    scene, add_sequence, logic
):
    job = take_along(logic, logic.segmentAsync(add_sequence((50, 100, 50))))
    assert job.state == "done"
    assert job.notes[-1] == "Nothing was found in 2 of them (time s 0, 0.25)."
    before = node_list(scene)
    job = take_along(logic, logic.segmentAsync(add_sequence((50, 50, 50))))
    assert job.state == "failed"
    assert "Nothing was found in any image" in job.message
    # the new input alone
    assert node_list(scene)[: len(before)] == before
    assert len(node_list(scene)) == len(before) + 1


def test_uncertainty_maps_are_a_sequence_too(scene, shown, logic):
    sequence, browser = shown
    job = take_along(logic, logic.segmentAsync(sequence, uncertainty=True))
    shown_map = logic.showUncertainty(job)
    assert shown_map is job.uncertaintyNode
    assert browser.GetSequenceNode(shown_map).GetNumberOfDataNodes() == 3
    sums = [
        slicer.util.arrayFromVolume(shown_map).sum()
        for n in range(3)
        if not browser.SetSelectedItemNumber(n)
    ]
    assert 0 < sums[0] < sums[1] < sums[2]


def test_the_map_over_the_views_is_that_of_the_image_that_is_shown(scene, shown, logic):
    """And no image of it is taken for a scan."""
    sequence, browser = shown
    scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    shown_map = logic.showUncertainty(logic.segment(sequence, uncertainty=True))
    counts = []
    for n in (0, 1, 2, 0):
        browser.SetSelectedItemNumber(n)
        seen = slicer.util.arrayFromVolume(layer_of(shown_map)) > 0
        assert np.array_equal(seen, slicer.util.arrayFromVolume(shown_map) > 0)
        counts.append(seen.sum())
        assert is_map(shown_map)
    assert counts[0] < counts[1] < counts[2]


def test_restore_brings_the_map_of_the_run_before_back(shown, logic, client):
    sequence, _ = shown
    node = logic.segment(sequence, uncertainty=True)
    first = uncertainty_of(node)
    logic.segment(sequence, node, uncertainty=True)
    second = uncertainty_of(node)
    assert second is not first
    for expected in (first, second, first):
        logic.restore(node)
        assert uncertainty_of(node) is expected
    logic.segment(sequence, node)
    assert uncertainty_of(node) is None
    logic.restore(node)
    assert uncertainty_of(node) is first
