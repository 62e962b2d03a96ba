"""Volumes are a table node beside the segmentation, whatever the model."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.structures import hippocampus_structures, uncoded_structures
from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation
from MedLLMSegLib.slicer_bridge.scene import segments, volume_nodes
from MedLLMSegLib.slicer_bridge.scene.volumetry_table import volumetry_of
from Testing.helpers.scene_nodes import SHAPE
from Testing.helpers.sequence_jobs import table_columns

SKULL_ON = IntracranialVolume(50.0)


def brain_drawing(scan, left_voxels=3, intracranial=SKULL_ON):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2, :left_voxels], labels[4, 4, :1] = 17, 53
    volume = volume_nodes.read_volume(scan)
    return segments.draw(
        Segmentation(
            volume.with_array(labels), brain_structures(), model="b", intracranial=intracranial
        )
    )


def table_nodes(scene):
    return scene.GetNumberOfNodesByClass("vtkMRMLTableNode")


def test_the_table_has_one_row_a_structure_and_lies_beside_the_segmentation(scene, scan):
    node, _ = volume_nodes.write_drawing(brain_drawing(scan), scan)
    table = volumetry_of(node)
    assert table.GetName() == f"{node.GetName()} volumetry"
    assert table.GetDescription() == "Intracranial volume 50.0 mL."
    columns = table_columns(table)
    assert list(columns) == [
        "Structure", "Label", "Side", "Group",
        "Volume (mL)", "Intracranial volume (%)", "Asymmetry (%)", "Mean confidence",
    ]  # fmt: skip
    assert len(columns["Structure"]) == 32
    row = columns["Label"].index(17)
    voxel_ml = volume_nodes.read_volume(scan).grid.voxel_ml
    assert columns["Structure"][row] == "Left hippocampus"
    assert columns["Group"][row] == "deep grey"
    assert columns["Volume (mL)"][row] == pytest.approx(3 * voxel_ml)
    assert columns["Intracranial volume (%)"][row] == pytest.approx(6 * voxel_ml)
    assert columns["Asymmetry (%)"][row] == pytest.approx(100.0)
    assert np.isnan(columns["Asymmetry (%)"][columns["Label"].index(16)])
    hierarchy = scene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemByDataNode(table)


def test_the_expected_dice_has_a_column_and_a_low_one_a_remark(scene, scan):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2, :3], labels[4, 4, :1], labels[5, 5, :2] = 17, 53, 16
    result = Segmentation(
        volume_nodes.read_volume(scan).with_array(labels),
        brain_structures(),
        model="b",
        intracranial=SKULL_ON,
        expected_dice={17: 0.81, 53: 0.4},
    )
    node, _ = volume_nodes.write_drawing(segments.draw(result), scan)
    columns = table_columns(volumetry_of(node))
    row_of = {label: row for row, label in enumerate(columns["Label"])}
    assert columns["Expected Dice"][row_of[17]] == pytest.approx(0.81)
    assert np.isnan(columns["Expected Dice"][row_of[16]])
    assert columns["Remark"][row_of[53]].startswith("low expected Dice")
    assert {columns["Remark"][row_of[label]] for label in (16, 17)} == {""}


def test_lights_reasons_and_intervals_have_columns(scene, scan):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2, :3], labels[4, 4, :1] = 17, 53
    odd = Quality("amber", ("the expected Dice is 0.71", "it is small"))
    result = Segmentation(
        volume_nodes.read_volume(scan).with_array(labels),
        brain_structures(),
        model="b",
        intracranial=SKULL_ON,
        quality=ScanQuality(odd, {17: odd, 53: Quality()}, {17: (2.0, 3.5)}),
    )
    node, _ = volume_nodes.write_drawing(segments.draw(result), scan)
    table = volumetry_of(node)
    columns = table_columns(table)
    left, right = (columns["Label"].index(label) for label in (17, 53))
    assert (columns["Light"][left], columns["Light"][right]) == ("amber", "green")
    assert columns["Remark"][left] == "the expected Dice is 0.71; it is small"
    assert columns["Remark"][right] == ""
    assert (columns["Low (mL)"][left], columns["High (mL)"][left]) == (2.0, 3.5)
    assert np.isnan(columns["Low (mL)"][right])
    assert "Quality: amber (look closely)" in table.GetDescription()


def test_a_second_run_renews_the_table_and_restore_brings_the_first_back(scene, scan):
    node, _ = volume_nodes.write_drawing(brain_drawing(scan), scan)
    off = IntracranialVolume(None, "the skull is off")
    _, before = volume_nodes.write_drawing(brain_drawing(scan, 1, off), scan, node)
    assert table_nodes(scene) == 1
    table = volumetry_of(node)
    assert table.GetDescription() == "Intracranial volume not available: the skull is off."
    row = table_columns(table)["Label"].index(17)
    assert table_columns(table)["Asymmetry (%)"][row] == pytest.approx(0.0)
    assert np.isnan(table_columns(table)["Intracranial volume (%)"][row])
    before.put_back(node)
    assert table_columns(table)["Asymmetry (%)"][row] == pytest.approx(100.0)
    assert table.GetDescription() == "Intracranial volume 50.0 mL."


def test_a_run_that_fails_leaves_no_table(scene, scan, monkeypatch):
    def fail(*_args):
        raise RuntimeError("full")

    monkeypatch.setattr(volume_nodes, "volumetry_of", fail)  # the step after the table is made
    with pytest.raises(RuntimeError):
        volume_nodes.write_drawing(brain_drawing(scan), scan)
    assert table_nodes(scene) == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_model_of_few_structures_has_a_table_of_what_was_found(scene, scan):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2, :3], labels[4, 4, :1] = 1, 3
    volume = volume_nodes.read_volume(scan)
    result = Segmentation(
        volume.with_array(labels), hippocampus_structures(lateral=True), {1: 0.9}, model="h"
    )
    node, _ = volume_nodes.write_drawing(segments.draw(result), scan)
    columns = table_columns(volumetry_of(node))
    assert list(columns) == [
        "Structure", "Label", "Side", "Volume (mL)", "Asymmetry (%)", "Mean confidence",
    ]  # fmt: skip
    assert columns["Label"] == [1, 3]
    voxel_ml = volume.grid.voxel_ml
    assert columns["Volume (mL)"] == pytest.approx([3 * voxel_ml, voxel_ml])
    assert columns["Asymmetry (%)"] == pytest.approx([100.0, 100.0])
    assert columns["Mean confidence"] == pytest.approx([0.9, np.nan], nan_ok=True)
    assert volumetry_of(node).GetDescription() == ""


def test_structures_without_sides_have_no_columns_about_sides(scene, scan):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2, :3] = 1
    volume = volume_nodes.read_volume(scan)
    result = Segmentation(volume.with_array(labels), uncoded_structures({1: "spleen"}), model="s")
    node, _ = volume_nodes.write_drawing(segments.draw(result), scan)
    columns = table_columns(volumetry_of(node))
    assert list(columns) == ["Structure", "Label", "Volume (mL)", "Mean confidence"]
    assert table_nodes(scene) == 1
