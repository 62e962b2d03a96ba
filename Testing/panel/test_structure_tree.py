"""The result of a whole brain in the panel: a tree by group whose ticks show and hide segments."""

import numpy as np
import pytest

slicer_core = pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation
from Testing.panel import pictures
from Testing.panel.steps import start


@pytest.fixture
def brain_panel(panel, logic, scan):
    """The panel after a run that found all 32 structures; returns (panel, segmentation node)."""
    from MedLLMSegLib.slicer_bridge.scene import segments, volume_nodes

    volume = volume_nodes.read_volume(scan)
    numbers = np.array([s.label for s in brain_structures()], np.uint8)
    labels = numbers[np.arange(volume.array.size).reshape(volume.array.shape) % 32]
    drawing = segments.draw(
        Segmentation(
            volume.with_array(labels),
            brain_structures(),
            {s.label: 0.9 for s in brain_structures()},
            model="brain-mr",
            intracranial=IntracranialVolume(10.0),
            expected_dice={s.label: 0.4 if s.label == 17 else 0.85 for s in brain_structures()},
        )
    )
    node, _ = volume_nodes.write_drawing(drawing, scan)
    job = start(panel, logic)
    job.end("done", segmentationNode=node, rows=drawing.rows, volumetry=drawing.volumetry)
    return panel, node


def branches(tree):
    return [tree.topLevelItem(n) for n in range(tree.topLevelItemCount)]


def visible(node) -> set[str]:
    segments, display = node.GetSegmentation(), node.GetDisplayNode()
    return {
        segments.GetSegment(n).GetName()
        for n in segments.GetSegmentIDs()
        if display.GetSegmentVisibility(n)
    }


def test_the_tree_has_all_structures_by_group_in_place_of_the_table(brain_panel, picture):
    panel, _ = brain_panel
    assert panel.ui.resultTree.visible
    assert not panel.ui.resultTable.visible
    texts = {branch.text(0): branch.childCount() for branch in branches(panel.ui.resultTree)}
    assert texts == {
        "White matter": 2, "Cortex": 2, "Ventricles and CSF": 7, "Cerebellum and stem": 5,
        "Deep grey": 16,
    }  # fmt: skip
    assert "Intracranial volume 10 mL" in panel.ui.statusLabel.text
    picture(panel, "brain")


def test_a_group_is_hidden_and_shown_at_one_click(brain_panel):
    from PySide6 import QtCore

    panel, node = brain_panel
    assert len(visible(node)) == 32
    deep = next(b for b in branches(panel.ui.resultTree) if b.text(0) == "Deep grey")
    deep.setCheckState(0, QtCore.Qt.Unchecked)
    assert len(visible(node)) == 16
    assert "Left hippocampus" not in visible(node)
    assert deep.child(0).checkState(0) == QtCore.Qt.Unchecked
    deep.setCheckState(0, QtCore.Qt.Checked)
    assert len(visible(node)) == 32


def test_one_structure_is_hidden_and_its_group_is_half_ticked(brain_panel):
    from PySide6 import QtCore

    panel, node = brain_panel
    cortex = next(b for b in branches(panel.ui.resultTree) if b.text(0) == "Cortex")
    cortex.child(0).setCheckState(0, QtCore.Qt.Unchecked)
    assert visible(node) == {s.name for s in brain_structures()} - {"Left cerebral cortex"}
    assert cortex.checkState(0) == QtCore.Qt.PartiallyChecked


def test_a_low_expected_dice_has_a_sign_and_words(brain_panel):
    panel, _ = brain_panel
    deep = next(b for b in branches(panel.ui.resultTree) if b.text(0) == "Deep grey")
    leaves = {deep.child(n).text(0): deep.child(n) for n in range(deep.childCount())}
    low, well = leaves["L hippocampus"], leaves["R hippocampus"]
    assert (low.text(2), well.text(2)) == ("! 0.40", "0.85")
    assert "look at this outline first" in low.toolTip(2)
    assert "look at this outline first" in low.toolTip(0)
    assert well.toolTip(2) == ""


def test_names_take_the_room_that_a_wide_dock_leaves(brain_panel, application):
    """And in a narrow one the percent makes room, as nothing is to be scrolled to."""
    panel, _ = brain_panel
    tree, widths = panel.ui.resultTree, {}
    for width in (340, 400, 500, 340):
        pictures.settle(panel, application, width)
        widths[width] = tree.header().sectionSize(0)
        shown = sum(tree.header().sectionSize(column) for column in range(5))
        assert shown == tree.viewport().width(), width
        assert tree.horizontalScrollBar().maximum() == 0
        assert tree.isColumnHidden(3) is (width == 340)
        assert not tree.isColumnHidden(4)
    assert widths[340] < widths[500]
    deep = next(b for b in branches(tree) if b.text(0) == "Deep grey")
    assert "% of the intracranial volume" in deep.child(0).toolTip(0)


def test_without_an_expected_dice_there_is_no_column_for_it(brain_panel, logic):
    from dataclasses import replace

    (panel, node), first = brain_panel, logic.job
    assert not panel.ui.resultTree.isColumnHidden(2)
    rows = tuple(replace(row, expected_dice=None) for row in first.volumetry.rows)
    job = start(panel, logic)
    found = replace(first.volumetry, rows=rows)
    job.end("done", segmentationNode=node, rows=first.rows, volumetry=found)
    assert panel.ui.resultTree.isColumnHidden(2)


def test_without_an_intracranial_volume_there_is_no_column_for_it(brain_panel, logic, application):
    from dataclasses import replace

    (panel, node), first = brain_panel, logic.job
    pictures.settle(panel, application, 500)
    assert not panel.ui.resultTree.isColumnHidden(3)
    rows = tuple(replace(row, percent_intracranial=None) for row in first.volumetry.rows)
    job = start(panel, logic)
    off = IntracranialVolume(None, "the skull is off")
    found = replace(first.volumetry, rows=rows, intracranial=off)
    job.end("done", segmentationNode=node, rows=first.rows, volumetry=found)
    assert panel.ui.resultTree.isColumnHidden(3)
    assert "the skull is off" in panel.ui.statusLabel.text


def test_a_plain_result_afterwards_brings_the_table_back(brain_panel, logic, drawn):
    panel, _ = brain_panel
    job = start(panel, logic)
    job.end("done", segmentationNode=drawn("heart"), rows=(("Myocardium", 90.0, 0.9),))
    assert panel.ui.resultTable.visible
    assert not panel.ui.resultTree.visible


def test_ticks_are_those_of_the_segmentation_that_was_written(brain_panel, logic, drawn):
    from PySide6 import QtCore

    (panel, node), first = brain_panel, logic.job
    job = start(panel, logic)
    job.end("done", segmentationNode=drawn("heart"), rows=(("Myocardium", 90.0, 0.9),))
    hidden = node.GetSegmentation().GetSegmentIdBySegmentName("Left cerebral cortex")
    node.GetDisplayNode().SetSegmentVisibility(hidden, False)
    again = start(panel, logic)
    again.end("done", segmentationNode=node, rows=first.rows, volumetry=first.volumetry)
    cortex = next(b for b in branches(panel.ui.resultTree) if b.text(0) == "Cortex")
    assert cortex.checkState(0) == QtCore.Qt.PartiallyChecked
    assert cortex.child(0).text(0) == "L cerebral cortex"
