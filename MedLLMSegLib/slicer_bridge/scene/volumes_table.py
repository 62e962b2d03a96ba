"""How large each structure is in each image of a sequence: a table beside the segmentations,
saved with the scene.
"""

from __future__ import annotations

import slicer  # noqa: F401  (MRML's classes, before VTK's)
import vtk

from .sequence_tables import SequenceTable
from .table_columns import add_column

VOLUMES = SequenceTable("MedLLMSegVolumes", "volumes")


def make_volumes(index, rows: dict[str, tuple]) -> vtk.vtkTable:
    """The volumes of each structure in each image. index: a sequence whose index the rows have.

    rows: index value -> (structure's name, mL, confidence) each, as `Job.itemRows`.
    """
    table = vtk.vtkTable()
    numbers = _numbers(rows) if index.GetIndexType() == index.NumericIndex else None
    title = _with_unit(index.GetIndexName() or "index", index.GetIndexUnit())
    if numbers is None:
        add_column(table, title, vtk.vtkStringArray, rows)
    else:
        add_column(table, title, vtk.vtkDoubleArray, numbers)
    structures = dict.fromkeys(row[0] for item_rows in rows.values() for row in item_rows)
    for structure in structures:
        volumes = [
            sum(volume_ml for name, volume_ml, _ in item_rows if name == structure)
            for item_rows in rows.values()
        ]
        add_column(table, volume_column(structure), vtk.vtkDoubleArray, volumes)
    return table


def _numbers(values) -> list[float] | None:
    """Index values as numbers; None if any is not a number.

    Slicer lets a sequence with a numeric index hold "12 ms".
    """
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def volume_column(structure: str) -> str:
    """The column of a structure's volumes; structure: its name."""
    return _with_unit(structure, "mL")


def _with_unit(name: str, unit: str | None) -> str:
    return f"{name} ({unit})" if unit else name
