"""A t-SNE map that `medllmseg tsne` has written, as a plot in Slicer: one series of points for
each class, view or source.
"""

from __future__ import annotations

import csv
import json
from contextlib import ExitStack
from pathlib import Path

import slicer
import vtk

from MedLLMSegLib.core.errors import UserError

# The colours of Okabe and Ito, which colour-blind readers can distinguish, without their yellow,
# which is hard to see on white.
COLOURS = (
    (0.0, 0.45, 0.70),
    (0.84, 0.37, 0.0),
    (0.0, 0.62, 0.45),
    (0.80, 0.47, 0.65),
    (0.90, 0.62, 0.0),
    (0.34, 0.71, 0.91),
    (0.35, 0.35, 0.35),
)
POINT_SIZE = 6  # pixels
NOT_MEASURED = "how well it can be told from the features was not measured"


def add_feature_map(path, by: str = "class"):
    """Put a map into the scene; returns its vtkMRMLPlotChartNode. All of it enters the scene, or
    nothing.

    path: the PNG, CSV or JSON file that `medllmseg tsne` wrote. The CSV holds the points. The JSON
        holds how well each column can be predicted from the features. This becomes the title,
        because t-SNE alone shows clusters where there are none.
    by: the column whose values are coloured.

    Raises `UserError`.
    """
    path = Path(path).with_suffix(".csv")
    groups = _groups(_rows(path), by, path)
    scene, name = slicer.mrmlScene, f"{path.stem} by {by}"
    with ExitStack() as undo:
        chart = _add(scene, "vtkMRMLPlotChartNode", name, undo)
        chart.SetTitle(f"{name}: {_separability(path.with_suffix('.json'), by)}")
        chart.SetXAxisTitle("t-SNE 1")
        chart.SetYAxisTitle("t-SNE 2")
        for color, (value, points) in zip(COLOURS, groups.items(), strict=False):
            table = _add(scene, "vtkMRMLTableNode", f"{name}: {value}", undo)
            _fill(table, points)
            chart.AddAndObservePlotSeriesNodeID(
                _series(scene, table, f"{value} ({len(points)})", color, undo).GetID()
            )
        undo.pop_all()
    return chart


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f'"{path}" cannot be read; give the file that `medllmseg tsne` wrote.'
        ) from error
    if not rows or not {"case", "x", "y"} <= set(rows[0]):
        raise UserError(
            f'"{path}" is not a map of features (columns case, x, y and one or more to colour by);'
            " make one with `medllmseg tsne`."
        )
    return rows


def _groups(
    rows: list[dict[str, str]], by: str, path: Path
) -> dict[str, list[tuple[str, float, float]]]:
    """value of the column ``by`` -> (case, x, y) of each point."""
    columns = [name for name in rows[0] if name not in ("case", "x", "y")]
    if by not in columns:
        raise UserError(
            f'"{path}" has no column "{by}" to colour by; it has'
            f" {', '.join(map(str, columns)) or 'none'}."
        )
    groups: dict[str, list[tuple[str, float, float]]] = {}
    for row in rows:
        try:
            point = (row["case"], float(row["x"]), float(row["y"]))
        except (TypeError, ValueError) as error:
            raise UserError(
                f'A point of "{path}" is not a pair of numbers ({row["x"]}, {row["y"]}); make the'
                " map again."
            ) from error
        groups.setdefault(row[by] or "not stated", []).append(point)
    if len(groups) > len(COLOURS):
        raise UserError(
            f'The column "{by}" has {len(groups)} values, and {len(COLOURS)} colours can be told'
            " apart; choose another column."
        )
    return dict(sorted(groups.items()))


def _separability(path: Path, by: str) -> str:
    """How well the column can be predicted from the features, as text."""
    try:
        auc = json.loads(path.read_text(encoding="utf-8"))[by]["auc"]
        value, interval = float(auc["value"]), [auc[name] for name in ("low", "high")]
        between = "" if None in interval else f"{interval[0]:.2f} to {interval[1]:.2f}; "
    except (OSError, ValueError, KeyError, TypeError):
        return NOT_MEASURED
    return f"told from the features with AUC {value:.2f} ({between}chance 0.5)"


def _add(scene, kind: str, name: str, undo: ExitStack):
    node = scene.AddNewNodeByClass(kind, scene.GenerateUniqueName(name))
    undo.callback(scene.RemoveNode, node)
    return node


def _fill(table, points: list[tuple[str, float, float]]) -> None:
    for column, (name, kind) in enumerate(
        (("case", vtk.vtkStringArray), ("x", vtk.vtkDoubleArray), ("y", vtk.vtkDoubleArray))
    ):
        array = kind()
        array.SetName(name)
        for point in points:
            array.InsertNextValue(point[column])
        table.AddColumn(array)


def _series(scene, table, title: str, color: tuple[float, float, float], undo: ExitStack):
    series = _add(scene, "vtkMRMLPlotSeriesNode", title, undo)
    series.SetName(title)  # what the legend says
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("x")
    series.SetYColumnName("y")
    series.SetLabelColumnName("case")  # shown where the mouse is
    series.SetPlotType(series.PlotTypeScatter)
    series.SetLineStyle(series.LineStyleNone)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetMarkerSize(POINT_SIZE)
    series.SetColor(*color)
    return series
