"""A training's learning curve in Slicer's plot view: loss and Dice over steps, growing while it
runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

from MedLLMSegLib.slicer_bridge.presenter.translation import _

# blue and vermillion of Okabe and Ito
COLOURS = {"loss": (0.0, 0.45, 0.70), "val_dice": (0.84, 0.37, 0.0)}


class LearningCurve:
    """The nodes of one training's plot, in the scene as long as it is wanted."""

    def __init__(self, name: str):
        self.name = name
        self.nodes: list = []
        self.tables: dict[str, Any] = {}  # column of the history -> vtkMRMLTableNode
        self.chart = self._add("vtkMRMLPlotChartNode", name)
        self.chart.SetTitle(name)
        self.chart.SetXAxisTitle(_("Step"))
        self.chart.SetYAxisTitle(_("Loss, Dice"))
        for key, title in (("loss", _("Training loss")), ("val_dice", _("Validation Dice"))):
            self._add_series(key, title)

    def update(self, history: Sequence[dict]) -> None:
        """Show these rows of a training's history."""
        for key, node in self.tables.items():
            points = [(row["step"], row[key]) for row in history if row.get(key) is not None]
            table = node.GetTable()
            table.SetNumberOfRows(len(points))
            for n, (step, value) in enumerate(points):
                table.GetColumn(0).SetValue(n, step)
                table.GetColumn(1).SetValue(n, value)
            for column in range(2):
                table.GetColumn(column).Modified()
            table.Modified()
            node.Modified()

    def show(self) -> None:
        """Show the plot; the layout changes if it has no plot view."""
        slicer.modules.plots.logic().ShowChartInLayout(self.chart)

    @property
    def in_scene(self) -> bool:
        """Whether it is still in the scene; closing the scene removes it."""
        return self.chart.GetScene() is not None

    def remove(self) -> None:
        """Take it out of the scene."""
        for node in reversed(self.nodes):
            if node.GetScene() is not None:
                node.GetScene().RemoveNode(node)

    def _add(self, kind: str, name: str):
        node = slicer.mrmlScene.AddNewNodeByClass(kind, slicer.mrmlScene.GenerateUniqueName(name))
        self.nodes.append(node)
        return node

    def _add_series(self, key: str, title: str) -> None:
        import vtk

        table = self._add("vtkMRMLTableNode", f"{self.name} {key}")
        series = self._add("vtkMRMLPlotSeriesNode", title)
        for column in ("step", key):
            array = vtk.vtkDoubleArray()
            array.SetName(column)
            table.AddColumn(array)
        self.tables[key] = table
        series.SetName(title)  # the text of the legend
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName("step")
        series.SetYColumnName(key)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleNone if key == "loss" else series.MarkerStyleCircle)
        series.SetColor(*COLOURS[key])
        self.chart.AddAndObservePlotSeriesNodeID(series.GetID())
