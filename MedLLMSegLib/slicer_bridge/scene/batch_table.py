"""The volumes of all scans of a batch in one table node, saved with the scene.

A model has one such table in a scene: its next batch replaces the contents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import slicer  # noqa: F401  (MRML's classes, before VTK's)
import vtk

from .table_columns import add_column, add_numbers
from .volumes_table import volume_column

BATCH_OF_MODEL = "MedLLMSeg.batchOfModel"  # a table node's attribute: the model's id


class BatchRow(Protocol):
    """One scan. rows: (structure's name, mL, mean confidence) each; () of one that failed.

    light: "" where nothing is known of it.
    """

    @property
    def name(self) -> str: ...
    @property
    def succeeded(self) -> bool: ...
    @property
    def rows(self) -> Sequence[tuple]: ...
    @property
    def light(self) -> str: ...
    @property
    def note(self) -> str: ...


class BatchTableState:
    """What a batch's table holds. A vtkTable is replaced, never written into, so it need not be
    copied.
    """

    worth_keeping = True

    def __init__(self, node):
        self.contents, self.description = node.GetTable(), node.GetDescription()

    def now(self, node) -> BatchTableState:
        return BatchTableState(node)

    def put_back(self, node) -> None:
        node.SetAndObserveTable(self.contents)
        node.SetDescription(self.description)


def batch_table_of(scene, model: str):
    """The table node of a model's last batch, or None."""
    kind = "vtkMRMLTableNode"
    nodes = (scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind)))
    return next((node for node in nodes if node.GetAttribute(BATCH_OF_MODEL) == model), None)


def new_batch_table(scene, model: str):
    """A table node for a model's batches. It lies in no patient's study, as it is about several."""
    node = scene.AddNewNodeByClass(
        "vtkMRMLTableNode", scene.GenerateUniqueName(f"{model} volumes of all scans")
    )
    node.SetAttribute(BATCH_OF_MODEL, model)
    return node


def write_batch_table(node, scans: Sequence[BatchRow], model: str) -> None:
    """Replace the contents of a batch's table node."""
    node.SetAndObserveTable(table_of_batch(scans, model))
    done = sum(scan.succeeded for scan in scans)
    node.SetDescription(
        f"{model}: volume of each structure in {done} of {len(scans)} scans; 0 where it was not"
        " found, NaN where a scan failed."
    )


def table_of_batch(scans: Sequence[BatchRow], model: str) -> vtk.vtkTable:
    """One row a scan; a column of volumes for each structure that was found in any of them."""
    table = vtk.vtkTable()
    add_column(table, "Scan", vtk.vtkStringArray, [_plain(scan.name) for scan in scans])
    add_column(table, "Model", vtk.vtkStringArray, [model for _scan in scans])
    if any(scan.light for scan in scans):
        add_column(table, "Light", vtk.vtkStringArray, [scan.light for scan in scans])
    add_column(table, "Note", vtk.vtkStringArray, [_plain(scan.note) for scan in scans])
    for structure in _structures(scans):
        volumes = [_volume_ml(scan, structure) for scan in scans]
        add_numbers(table, volume_column(structure), volumes)
    return table


def _structures(scans: Sequence[BatchRow]) -> list[str]:
    """Names in the model's order, which each scan's rows have: a new name stands behind the one
    before it.
    """
    names: list[str] = []
    for scan in scans:
        place = 0
        for name, *_ in scan.rows:
            if name not in names:
                names.insert(place, name)
            place = names.index(name) + 1
    return names


def _plain(text: str) -> str:
    """Without what a scene's file of a table does not bring back: tabs and line ends, which end a
    text there, and double quotes, before which Slicer's reader drops it.
    """
    return " ".join(text.split()).replace('"', "'")


def _volume_ml(scan: BatchRow, structure: str) -> float:
    if not scan.succeeded:
        return math.nan
    return sum(volume_ml for name, volume_ml, *_ in scan.rows if name == structure)
