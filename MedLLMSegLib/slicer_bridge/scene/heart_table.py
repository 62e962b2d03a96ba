"""The function of a heart as a table node beside the sequence of its segmentations."""

from __future__ import annotations

import slicer  # noqa: F401  (MRML's classes, before VTK's)
import vtk

from MedLLMSegLib.metrics.heart_function import HeartFunction, figures

from .sequence_tables import SequenceTable
from .table_columns import add_column, add_numbers

HEART = SequenceTable("MedLLMSegHeartFunction", "heart function")


def make_heart_table(function: HeartFunction) -> vtk.vtkTable:
    """One row a figure; NaN where one is not available. Images are numbered from 1.

    The columns of values by body surface are there if height and weight are known, and the ends
    of the intervals if the model has some.
    """
    rows, table = figures(function), vtk.vtkTable()
    images = {
        "End-diastolic image": function.end_diastole + 1,
        "End-systolic image": function.end_systole + 1,
    }
    none = [None] * len(images)
    names = [*images, *(row.name for row in rows)]
    add_column(table, "Figure", vtk.vtkStringArray, names)
    add_numbers(table, "Value", [*images.values(), *(row.value for row in rows)])
    units = [*("" for _ in images), *(row.unit for row in rows)]
    add_column(table, "Unit", vtk.vtkStringArray, units)
    if function.intervals is not None:
        ends = [row.interval or (None, None) for row in rows]
        add_numbers(table, "Low", [*none, *(low for low, _high in ends)])
        add_numbers(table, "High", [*none, *(high for _low, high in ends)])
    if function.person.surface_m2 is not None:
        add_numbers(table, "By body surface", [*none, *(row.indexed for row in rows)])
        units = [*("" for _ in images), *(row.indexed_unit for row in rows)]
        add_column(table, "Unit by body surface", vtk.vtkStringArray, units)
    return table
