"""How large each structure is in each image of a sequence: a table beside the segmentations, saved with the scene."""
from __future__ import annotations

import slicer  # noqa: F401  (MRML's classes, before VTK's)
import vtk

from .nodes import place_beside

ROLE = "MedLLMSegVolumes"  # the sequence of segmentations' reference to its table


def table_of(segmentations):
    """The table of a sequence of segmentations, or None."""
    return segmentations.GetNodeReference(ROLE)


def write_volumes(segmentations, rows: dict[str, tuple], model: str, beside):
    """Give a sequence of segmentations its table, or that of an earlier run new contents; returns the vtkMRMLTableNode.

    rows: index value -> (structure's name, mL, confidence) each, as `Job.itemRows`. beside: the volume node that it is put next
    to. The vtkTable is exchanged, never written into: whoever keeps the one before can put it back.
    """
    scene, node = segmentations.GetScene(), table_of(segmentations)
    if node is None:
        node = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{segmentations.GetName()} volumes"))
        segmentations.SetNodeReferenceID(ROLE, node.GetID())
        place_beside(node, beside)
    index = _with_unit(segmentations.GetIndexName() or "index", segmentations.GetIndexUnit())
    node.SetAndObserveTable(_table(rows, index, segmentations.GetIndexType() == segmentations.NumericIndex))
    node.SetDescription(f"{model}: volume of each structure in each image; 0 where it was not found.")
    return node


def _table(rows: dict[str, tuple], index: str, numeric: bool):
    table, names = vtk.vtkTable(), dict.fromkeys(name for each in rows.values() for name, *_ in each)
    _add(table, index, vtk.vtkDoubleArray if numeric else vtk.vtkStringArray, map(float, rows) if numeric else rows)
    for name in names:
        volumes = [sum(ml for found, ml, _ in each if found == name) for each in rows.values()]
        _add(table, _with_unit(name, "mL"), vtk.vtkDoubleArray, volumes)
    return table


def _add(table, name: str, kind, values) -> None:
    array = kind()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    table.AddColumn(array)


def _with_unit(name: str, unit: str | None) -> str:
    return f"{name} ({unit})" if unit else name
