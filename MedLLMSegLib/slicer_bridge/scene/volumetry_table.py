"""The volumetry of a segmentation as a table node beside it, saved with the scene."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import slicer  # noqa: F401  (MRML's classes, before VTK's)
import vtk

from MedLLMSegLib.metrics.volumetry import NOT_AVAILABLE, StructureVolume, Volumetry

from .table_columns import add_column, add_numbers

VOLUMETRY_TABLE = "MedLLMSegVolumetry"  # a segmentation's reference to its table
LOW = "low expected Dice: look at it first"  # beside a structure


class VolumetryState:
    """Which table a segmentation node refers to, and what that table holds.

    A vtkTable is replaced, never written into, so it need not be copied.
    """

    def __init__(self, segmentationNode):
        self.node = volumetry_of(segmentationNode)
        if self.node is not None:
            self.table, self.description = self.node.GetTable(), self.node.GetDescription()

    def put_back(self, segmentationNode) -> None:
        if self.node is None or self.node.GetScene() is None:
            segmentationNode.SetNodeReferenceID(VOLUMETRY_TABLE, None)
            return
        self.node.SetAndObserveTable(self.table)
        self.node.SetDescription(self.description)
        segmentationNode.SetNodeReferenceID(VOLUMETRY_TABLE, self.node.GetID())


def volumetry_of(segmentationNode):
    """The table node of a segmentation's volumetry, or None."""
    return segmentationNode.GetNodeReference(VOLUMETRY_TABLE)


def write_volumetry(
    found: Volumetry | None, confidence: Mapping[str, float], segmentationNode, undo: ExitStack
):
    """Give a segmentation its volumetry; returns the vtkMRMLTableNode, or None.

    found: None leaves a table of an earlier run as it is, as it is about other segments.
    confidence: name of a structure -> its mean confidence. undo: takes the steps that undo all of
    this.
    """
    undo.callback(VolumetryState(segmentationNode).put_back, segmentationNode)
    if found is None:
        return None
    node = volumetry_of(segmentationNode) or _new_node(segmentationNode, undo)
    node.SetAndObserveTable(table_of_volumetry(found, confidence))
    node.SetDescription(_description(found))
    segmentationNode.SetNodeReferenceID(VOLUMETRY_TABLE, node.GetID())
    return node


def _new_node(segmentationNode, undo: ExitStack):
    scene = segmentationNode.GetScene()
    name = scene.GenerateUniqueName(f"{segmentationNode.GetName()} volumetry")
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    undo.callback(scene.RemoveNode, node)
    return node


def _description(found: Volumetry) -> str:
    return " ".join(filter(None, (_intracranial_words(found), _quality_words(found))))


def _intracranial_words(found: Volumetry) -> str:
    whole = found.intracranial
    if whole is None:
        return ""
    if whole.ml is not None:
        return f"Intracranial volume {whole.ml:.1f} mL."
    return f"Intracranial volume {NOT_AVAILABLE}: {whole.why_not}."


def _quality_words(found: Volumetry) -> str:
    return "" if found.quality is None else f"Quality: {found.quality.scan.in_words}."


def table_of_volumetry(found: Volumetry, confidence: Mapping[str, float]) -> vtk.vtkTable:
    """One row a structure; NaN where a figure is not available.

    Of a model of the whole brain all structures; of any other those that were found, as the others
    may not have been asked for, and only the columns that say something of them.
    """
    is_brain = found.intracranial is not None
    rows = [row for row in found.rows if is_brain or row.volume_ml > 0]
    structures = [row.structure for row in rows]
    table = vtk.vtkTable()
    add_column(table, "Structure", vtk.vtkStringArray, [s.name for s in structures])
    add_column(table, "Label", vtk.vtkIntArray, [s.label for s in structures])
    for title, texts in (
        ("Side", [s.side for s in structures]),
        ("Group", [s.group for s in structures]),
    ):
        if any(texts):
            add_column(table, title, vtk.vtkStringArray, texts)
    add_numbers(table, "Volume (mL)", [row.volume_ml for row in rows])
    if is_brain:
        add_numbers(table, "Intracranial volume (%)", [row.percent_intracranial for row in rows])
    if is_brain or found.has_sides:
        add_numbers(table, "Asymmetry (%)", [row.asymmetry_percent for row in rows])
    add_numbers(table, "Mean confidence", [confidence.get(s.name) for s in structures])
    if found.has_expected_dice:
        add_numbers(table, "Expected Dice", [row.expected_dice for row in rows])
    if found.has_intervals:
        ends = [row.interval_ml or (None, None) for row in rows]
        add_numbers(table, "Low (mL)", [low for low, _high in ends])
        add_numbers(table, "High (mL)", [high for _low, high in ends])
    if found.quality is not None:
        lights = [row.quality.light if row.quality else "" for row in rows]
        add_column(table, "Light", vtk.vtkStringArray, lights)
    if found.has_expected_dice or found.quality is not None:
        add_column(table, "Remark", vtk.vtkStringArray, [_remark(row) for row in rows])
    return table


def _remark(row: StructureVolume) -> str:
    if row.quality is not None:
        return "; ".join(row.quality.reasons)
    return LOW if row.is_doubtful else ""
