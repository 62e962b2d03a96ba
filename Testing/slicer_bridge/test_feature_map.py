"""A t-SNE map from the files of `medllmseg tsne` to a chart, on Slicer's own plot nodes."""

import json

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.evaluation.tsne_map import ColumnPrediction
from MedLLMSegLib.metrics.classification_intervals import Estimate
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.scene import feature_map

ROWS = (
    ("a", 1.5, 2.0, "pneumonia", "PA"),
    ("b", -3.0, 0.5, "no finding", "AP"),
    ("c", 4.0, -1.0, "pneumonia", ""),
)


@pytest.fixture
def path(tmp_path):
    lines = ["case,x,y,class,view", *(",".join(map(str, row)) for row in ROWS)]
    (tmp_path / "map.csv").write_text("\n".join(lines) + "\n")

    def prediction(auc):
        classes = {"no finding": 1, "pneumonia": 2}
        return ColumnPrediction(3, classes, 0.667, Estimate(0.8, 0.7, 0.9), auc)

    found = {
        "class": prediction(Estimate(0.912, 0.85, 0.96)),
        "scanner": prediction(Estimate(0.6)),
        "site": prediction(Estimate(float("nan"))),
    }
    (tmp_path / "map.json").write_text(
        json.dumps({name: each.to_dict() for name, each in found.items()})
    )  # as `medllmseg tsne`
    return tmp_path / "map.png"


def series(chart):
    return [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]


def points(one):
    table = one.GetTableNode().GetTable()
    x, y = (
        table.GetColumnByName(name(one))
        for name in (type(one).GetXColumnName, type(one).GetYColumnName)
    )
    labels = table.GetColumnByName(one.GetLabelColumnName())
    return [
        (labels.GetValue(n), x.GetValue(n), y.GetValue(n)) for n in range(table.GetNumberOfRows())
    ]


def test_one_series_for_each_value_and_the_number_beside_the_picture(scene, path):
    chart = feature_map.add_feature_map(path)
    assert [one.GetName() for one in series(chart)] == ["no finding (1)", "pneumonia (2)"]
    assert points(series(chart)[1]) == [("a", 1.5, 2.0), ("c", 4.0, -1.0)]
    assert points(series(chart)[0]) == [("b", -3.0, 0.5)]
    assert series(chart)[0].GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter
    assert series(chart)[0].GetLineStyle() == slicer.vtkMRMLPlotSeriesNode.LineStyleNone
    assert not np.allclose(series(chart)[0].GetColor(), series(chart)[1].GetColor())
    assert (
        chart.GetTitle()
        == "map by class: told from the features with AUC 0.91 (0.85 to 0.96; chance 0.5)"
    )


def test_another_column_that_nothing_was_measured_of(scene, path):
    chart = feature_map.add_feature_map(path.with_suffix(".csv"), "view")
    assert [one.GetName() for one in series(chart)] == ["AP (1)", "PA (1)", "not stated (1)"]
    assert "was not measured" in chart.GetTitle()
    told = {
        by: feature_map._separability(path.with_suffix(".json"), by) for by in ("scanner", "site")
    }
    assert told == {
        "scanner": "told from the features with AUC 0.60 (chance 0.5)",
        "site": feature_map.NOT_MEASURED,
    }


def test_the_logic_shows_it(scene, path, monkeypatch):
    shown = []
    plots = type(
        "Plots",
        (),
        {"logic": lambda self: self, "ShowChartInLayout": lambda self, chart: shown.append(chart)},
    )()
    monkeypatch.setattr(slicer.modules, "plots", plots, raising=False)
    chart = SegmentationLogic(
        makeClient=lambda: pytest.fail("a worker was started")
    ).showFeatureMap(path)
    assert shown == [chart]
    assert chart.GetNumberOfPlotSeriesNodes() == 2


@pytest.mark.parametrize(
    "text, by, words",
    [
        (None, "class", "cannot be read"),
        ("a,b\n1,2\n", "class", "not a map of features"),
        ("", "class", "not a map of features"),
        ("case,x,y,class\na,1,2,c\n", "scanner", 'no column "scanner".*it has class'),
        ("case,x,y,class\na,one,2,c\n", "class", "not a pair of numbers"),
        ("case,x,y,class\na,1\n", "class", "not a pair of numbers"),
        (
            "case,x,y,class\n" + "".join(f"{n},1,2,c{n}\n" for n in range(8)),
            "class",
            "8 values, and 7 colours",
        ),
    ],
)
def test_bad_files_are_one_sentence_and_leave_nothing(scene, tmp_path, text, by, words):
    if text is not None:
        (tmp_path / "map.csv").write_text(text)
    before = scene.GetNumberOfNodes()
    with pytest.raises(UserError, match=words):
        feature_map.add_feature_map(tmp_path / "map.csv", by)
    assert scene.GetNumberOfNodes() == before


def test_a_failure_half_way_takes_all_back(scene, path, monkeypatch):
    before = scene.GetNumberOfNodes()
    with monkeypatch.context() as broken:
        broken.setattr(feature_map, "_series", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            feature_map.add_feature_map(path)
    assert scene.GetNumberOfNodes() == before
