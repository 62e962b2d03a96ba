"""Another run on a segmentation node: what is replaced and what stays."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.slicer_bridge.scene import segments
from MedLLMSegLib.slicer_bridge.scene import volume_nodes as nodes
from Testing.helpers.scene_nodes import (
    SHAPE,
    add_user_segment,
    display_values,
    restyle,
    result_on,
    segment_names,
    segment_of,
    two_sided_labels,
    write_result,
)


def array_of(node, name, scan):
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, scan)


def test_another_run_replaces_ours_and_leaves_the_users(scan):
    lesion, vessel = two_sided_labels() == 0, np.zeros(SHAPE, bool)
    lesion[:, :9], vessel[10:, 12:, 14:] = False, True
    node = write_result(scan)
    add_user_segment(node, scan, "lesion", lesion)
    add_user_segment(node, scan, "vessel", vessel)
    node.GetSegmentation().SetSegmentIndex(
        (
            "vessel"
            if node.GetSegmentation().GetSegment("vessel")
            else node.GetSegmentation().GetSegmentIdBySegmentName("vessel")
        ),
        1,
    )
    before, moved = segment_names(node), np.roll(two_sided_labels(), 1, axis=2)
    again = write_result(scan, node, labels=moved)
    assert again is node
    assert segment_names(node) == before
    assert before[1] == "vessel"
    np.testing.assert_array_equal(array_of(node, "lesion", scan), lesion)
    np.testing.assert_array_equal(array_of(node, "vessel", scan), vessel)
    for structure in hippocampus_structures(lateral=True):
        np.testing.assert_array_equal(
            array_of(node, structure.name, scan), moved == structure.label
        )


def test_a_structure_that_is_no_longer_found_goes_and_a_new_one_comes_last(scan):
    node = write_result(
        scan, labels=np.where(two_sided_labels() == 1, 0, two_sided_labels()).astype(np.uint8)
    )
    add_user_segment(node, scan, "lesion", two_sided_labels() == 1)
    write_result(
        scan, node, labels=np.where(two_sided_labels() == 2, 0, two_sided_labels()).astype(np.uint8)
    )
    assert segment_names(node) == [
        "Right hippocampus (anterior)",
        "Right hippocampus (posterior)",
        "lesion",
        "Left hippocampus (anterior)",
    ]


def test_a_copy_that_the_user_made_of_a_segment_stays(scan):
    node = write_result(scan)
    copy = slicer.vtkSegment()
    copy.DeepCopy(segment_of(node, "Left hippocampus (anterior)"))
    copy.SetName("first try")
    node.GetSegmentation().AddSegment(copy)
    write_result(scan, node, labels=np.roll(two_sided_labels(), 2, axis=2))
    np.testing.assert_array_equal(array_of(node, "first try", scan), two_sided_labels() == 1)


def test_segments_of_another_model_stay(scan):
    node = write_result(
        scan, labels=np.minimum(two_sided_labels(), 2), lateral=False, model="another"
    )
    write_result(scan, node)
    assert len(segment_names(node)) == 6
    assert segment_names(node)[:2] == [
        "Hippocampus (anterior)",
        "Hippocampus (posterior)",
    ]


def test_a_side_less_result_of_the_same_model_is_replaced(scan):
    node = write_result(scan, labels=np.minimum(two_sided_labels(), 2), lateral=False)
    write_result(scan, node)
    assert len(segment_names(node)) == 4


def test_a_run_for_one_side_leaves_what_was_found_on_the_other(scan):
    node, moved = write_result(scan), np.roll(two_sided_labels(), 1, axis=2)
    before, left = segment_names(node), np.where(moved <= 2, moved, 0).astype(np.uint8)
    nodes.write_drawing(
        segments.draw(result_on(nodes.read_volume(scan), labels=left)), scan, node, side="left"
    )
    assert segment_names(node) == before
    np.testing.assert_array_equal(array_of(node, "Left hippocampus (anterior)", scan), left == 1)
    np.testing.assert_array_equal(
        array_of(node, "Right hippocampus (anterior)", scan), two_sided_labels() == 3
    )


@pytest.mark.parametrize("surfaces", [False, True])
def test_what_the_user_has_styled_and_named_stays_so(scan, surfaces):
    node = write_result(scan)
    if surfaces:
        node.CreateClosedSurfaceRepresentation()
    restyle(node)
    before = display_values(node)
    assert before == {
        **before,
        **{i: (f"mine {n}", *rest[1:]) for n, (i, rest) in enumerate(before.items())},
    }
    write_result(scan, node, labels=np.roll(two_sided_labels(), 1, axis=2))
    assert display_values(node) == before
    assert node.GetSegmentation().ContainsRepresentation("Closed surface") is surfaces


def test_what_is_restored_looks_as_it_did(scan):
    from MedLLMSegLib.slicer_bridge.scene.restore_point import NodeState

    node = write_result(scan)
    restyle(node)
    before, kept = display_values(node), NodeState(node)
    write_result(
        scan, node, labels=np.where(two_sided_labels() == 1, 0, two_sided_labels()).astype(np.uint8)
    )  # one is no longer found
    assert len(display_values(node)) == 3
    node.GetDisplayNode().SetSegmentOpacity3D(list(before)[2], 0.77)  # chosen meanwhile
    kept.put_back(node)
    wanted = {
        i: (*rest[:5], 0.77 if n == 2 else rest[5], *rest[6:])
        for n, (i, rest) in enumerate(before.items())
    }
    assert display_values(node) == wanted
