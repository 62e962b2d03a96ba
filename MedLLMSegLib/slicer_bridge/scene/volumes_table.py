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
    table = vtk.vtkTable()
    numbers = _numbers(rows) if index.GetIndexType() == index.NumericIndex else None
    title = _with_unit(index.GetIndexName() or "index", index.GetIndexUnit())
    if numbers is None:
        _add_column(table, title, vtk.vtkStringArray, rows)
    else:
        _add_column(table, title, vtk.vtkDoubleArray, numbers)
    structures = dict.fromkeys(row[0] for item_rows in rows.values() for row in item_rows)
    for structure in structures:
        volumes = [
            sum(volume_ml for name, volume_ml, _ in item_rows if name == structure)
            for item_rows in rows.values()
        ]
        _add_column(table, _with_unit(structure, "mL"), vtk.vtkDoubleArray, volumes)
    return table


def _numbers(values) -> list[float] | None:
    """Index values as numbers; None if any is not a number.

    Slicer lets a sequence with a numeric index hold "12 ms".
    """
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def show_volumes(segmentations, volumes: vtk.vtkTable, neighbour, removed_table=None):
    """Give a sequence of segmentations its table, or new contents to that of an earlier run.

    neighbour: the node that it is put next to. removed_table: a table node that was removed from
    the scene, and comes back. Returns the vtkMRMLTableNode.

    The vtkTable is replaced, never written into, so that a caller can put the one before back.
    """
    scene, table = segmentations.GetScene(), table_of(segmentations)
    if table is None:
        if removed_table:
            table = scene.AddNode(removed_table)
        else:
            name = scene.GenerateUniqueName(f"{segmentations.GetName()} volumes")
            table = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        segmentations.SetNodeReferenceID(VOLUMES_TABLE, table.GetID())
        place_next_to(table, neighbour)
    table.SetAndObserveTable(volumes)
    return table


def remove_volumes(segmentations) -> None:
    """Take the table of a sequence of segmentations, if it has one, out of the scene."""
    node = table_of(segmentations)
    if node is not None:
        restore_place(node, None)
        node.GetScene().RemoveNode(node)


def _add_column(table, name: str, kind, values) -> None:
    array = kind()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    table.AddColumn(array)


def _with_unit(name: str, unit: str | None) -> str:
    return f"{name} ({unit})" if unit else name
