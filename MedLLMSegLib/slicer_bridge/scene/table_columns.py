"""Columns of a vtkTable."""

from __future__ import annotations

import math
from collections.abc import Iterable

import slicer  # noqa: F401  (MRML's classes, before VTK's)
import vtk


def add_column(table: vtk.vtkTable, name: str, kind, values: Iterable) -> None:
    """kind: the class of the array, such as vtk.vtkStringArray."""
    array = kind()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    table.AddColumn(array)


def add_numbers(table: vtk.vtkTable, name: str, numbers: Iterable[float | None]) -> None:
    """A column of numbers; NaN where one is None."""
    values = [math.nan if number is None else number for number in numbers]
    add_column(table, name, vtk.vtkDoubleArray, values)
