"""How large each structure is in each image of a sequence: a table beside the segmentations,
saved with the scene.
"""

from __future__ import annotations

import slicer  # noqa: F401  (MRML's classes, before VTK's)
import vtk

from .volume_nodes import place_next_to, restore_place

VOLUMES_TABLE = "MedLLMSegVolumes"  # the sequence of segmentations' reference to its table


def table_of(segmentations):
    """The table of a sequence of segmentations, or None."""
    return segmentations.GetNodeReference(VOLUMES_TABLE)


def make_volumes(index, rows: dict[str, tuple]) -> vtk.vtkTable:
    """The volumes of each structure in each image. index: a sequence whose index the rows have.

    rows: index value -> (structure's name, mL, confidence) each, as `Job.itemRows`.
    """
    table, names = (
        vtk.vtkTable(),
        dict.fromkeys(name for each in rows.values() for name, *_ in each),
    )
    numbers = _numbers(rows) if index.GetIndexType() == index.NumericIndex else None
    _add(
        table,
        _with_unit(index.GetIndexName() or "index", index.GetIndexUnit()),
        vtk.vtkStringArray if numbers is None else vtk.vtkDoubleArray,
        rows if numbers is None else numbers,
    )
    for name in names:
        volumes = [sum(ml for found, ml, _ in each if found == name) for each in rows.values()]
        _add(table, _with_unit(name, "mL"), vtk.vtkDoubleArray, volumes)
    return table


def _numbers(values) -> list[float] | None:
    """Index values as numbers; None if any is none: Slicer lets a sequence that says it is
    numeric hold "12 ms".
    """
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def show_volumes(segmentations, volumes: vtk.vtkTable, beside, node=None):
    """Give a sequence of segmentations its table, or that of an earlier run new contents; returns
    the vtkMRMLTableNode.

    beside: the node that it is put next to. node: one that was taken out of the scene, and comes
    back. The vtkTable is exchanged, never written into: whoever keeps the one before can put it
    back.
    """
    scene, there = segmentations.GetScene(), table_of(segmentations)
    if there is None:
        name = scene.GenerateUniqueName(f"{segmentations.GetName()} volumes")
        there = scene.AddNode(node) if node else scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        segmentations.SetNodeReferenceID(VOLUMES_TABLE, there.GetID())
        place_next_to(there, beside)
    there.SetAndObserveTable(volumes)
    return there


def remove_volumes(segmentations) -> None:
    """Take the table of a sequence of segmentations, if it has one, out of the scene."""
    node = table_of(segmentations)
    if node is not None:
        restore_place(node, None)
        node.GetScene().RemoveNode(node)


def _add(table, name: str, kind, values) -> None:
    array = kind()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    table.AddColumn(array)


def _with_unit(name: str, unit: str | None) -> str:
    return f"{name} ({unit})" if unit else name
