"""The volumes of a heart's chambers over the beat, as a chart of the table of volumes.

The chart belongs to the table of the heart's function: it comes and goes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import slicer  # noqa: F401  (MRML's classes, before VTK's)

from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.metrics.heart_function import LEFT, RIGHT

from .volume_nodes import place_next_to, restore_place
from .volumes_table import VOLUMES, volume_column

# The sequence of segmentations' references to its chart and to the nodes of the curves
CHART, CURVES = "MedLLMSegHeartChart", "MedLLMSegHeartCurve"


class Curve(NamedTuple):
    """title: of the legend. column: of the table of volumes. colour: RGB, 0 to 1."""

    title: str
    column: str
    colour: tuple[float, float, float]


def curves_of_heart(structures: Sequence[Structure]) -> tuple[Curve, ...]:
    """The curves of both ventricles. structures: of the model that outlined them."""
    by_key = {structure.key: structure for structure in structures}
    return tuple(_curve(by_key[key]) for key in (LEFT, RIGHT))


def _curve(structure: Structure) -> Curve:
    red, green, blue = (channel / 255 for channel in structure.color)
    return Curve(structure.name, volume_column(structure.name), (red, green, blue))


def chart_of(segmentations):
    """The vtkMRMLPlotChartNode of a sequence of segmentations, or None."""
    return segmentations.GetNodeReference(CHART)


def curves_shown(segmentations) -> tuple[Curve, ...]:
    """What the chart shows now; nothing where there is none."""
    if chart_of(segmentations) is None:
        return ()
    return tuple(
        Curve(series.GetName(), series.GetYColumnName(), tuple(series.GetColor()))
        for series in _series_of(segmentations)
    )


def show_chart(segmentations, curves: Sequence[Curve], neighbour):
    """Give a sequence of segmentations its chart, or new curves to that of an earlier run.

    Curves whose column the table of volumes lacks are left out: what they show was not found.
    neighbour: the node that it is put next to. Returns the vtkMRMLPlotChartNode.
    """
    table, old = VOLUMES.of(segmentations), _series_of(segmentations)
    chart = chart_of(segmentations) or _new_chart(segmentations, neighbour)
    chart.SetXAxisTitle(table.GetTable().GetColumn(0).GetName())
    drawn = [each for each in curves if table.GetTable().GetColumnByName(each.column) is not None]
    for series in old[len(drawn) :]:
        _remove(series)
    for n, curve in enumerate(drawn):
        series = old[n] if n < len(old) else _new_series(segmentations, curve, neighbour)
        _set_data(series, curve, table)
        if not chart.HasPlotSeriesNodeID(series.GetID()):
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def remove_chart(segmentations) -> None:
    """Take the chart, if there is one, and its curves out of the scene."""
    chart = chart_of(segmentations)
    for node in (*_series_of(segmentations), *filter(None, [chart])):
        _remove(node)


def _remove(node) -> None:
    restore_place(node, None)
    node.GetScene().RemoveNode(node)


def _series_of(segmentations) -> list:
    """The vtkMRMLPlotSeriesNodes of the curves, also where the user has deleted the chart."""
    count = segmentations.GetNumberOfNodeReferences(CURVES)
    nodes = [segmentations.GetNthNodeReference(CURVES, n) for n in range(count)]
    return [node for node in nodes if node is not None]


def _new_chart(segmentations, neighbour):
    scene = segmentations.GetScene()
    name = scene.GenerateUniqueName(f"{segmentations.GetName()} heart volumes")
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    chart.SetTitle(name)
    chart.SetYAxisTitle("mL")
    segmentations.SetNodeReferenceID(CHART, chart.GetID())
    place_next_to(chart, neighbour)
    return chart


def _new_series(segmentations, curve: Curve, neighbour):
    series = segmentations.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", curve.title)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetColor(*curve.colour)  # once, as the user may change it
    segmentations.AddNodeReferenceID(CURVES, series.GetID())
    place_next_to(series, neighbour)
    return series


def _set_data(series, curve: Curve, table) -> None:
    """Let a curve show its column of a vtkMRMLTableNode."""
    series.SetName(curve.title)  # the text of the legend
    series.SetAndObserveTableNodeID(table.GetID())
    index = table.GetTable().GetColumn(0)
    are_texts = index.IsA("vtkStringArray")  # no coordinates: one image after the other
    series.SetPlotType(series.PlotTypeLine if are_texts else series.PlotTypeScatter)
    series.SetXColumnName("" if are_texts else index.GetName())
    series.SetLabelColumnName(index.GetName() if are_texts else "")
    series.SetYColumnName(curve.column)
