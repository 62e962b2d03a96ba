"""The study of engines measures each arm beside torch in fp32, once, and its table says what is."""

import json
import shutil
import sys

import numpy as np
import pytest

from MedLLMSegLib import UserError, save_volume, segment
from MedLLMSegLib.studies import engines
from MedLLMSegLib.studies.edge_cost import cost_of
from MedLLMSegLib.studies.engines import ARMS, run, tables
from MedLLMSegLib.studies.remeasure import Measure
from Testing.helpers.tiny_brain import exported_tiny_brain, tiny_scan

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.xdist_group("graphs"), pytest.mark.usefixtures("brain_of_any_shape")]
ARMS_HERE = [arm for arm in ARMS if arm.name in ("torch fp32", "onnx fp32", "onnx int8")]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """(the model's name, the folder of all data, that of results): one case, whose truth is what
    the model finds.
    """
    bundle = exported_tiny_brain("onnx").parent / "bundle"
    scan = tiny_scan()
    save_volume(scan, tmp_path / "data/cases/imagesTr/a.nii.gz")
    found = segment(scan, bundle, device="cpu", precision="fp32")
    save_volume(found.labels, tmp_path / "data/cases/labelsTr/a.nii.gz")
    names = {str(s.label): s.name for s in found.structures}
    text = json.dumps({"labels": {"0": "background", **names}})
    (tmp_path / "data/cases/dataset.json").write_text(text, encoding="utf-8")
    monkeypatch.setitem(engines.MEASURES, str(bundle), Measure("cases"))
    shutil.copytree(exported_tiny_brain("onnx"), tmp_path / "out/tiny-brain/graphs-onnx")
    return str(bundle), tmp_path / "data", tmp_path / "out"


def test_each_arm_is_measured_once_beside_torch(study):
    name, data, output = study
    rows = run([name], data, output, ARMS_HERE)
    assert [row["arm"] for row in rows] == ["torch fp32", "onnx fp32"]  # no train split: no int8
    base, onnx = rows
    assert base["agreement"] == 1.0 and onnx["agreement"] > 0.99
    assert onnx["dice"] == pytest.approx(base["dice"], abs=0.01)
    assert 0 < onnx["network_s"] < onnx["seconds"]
    assert onnx["mb"] > base["mb"] > 0
    assert run([name], data, output, ARMS_HERE) == rows  # times are never twice the same
    assert not np.isnan(base["dice"])


def test_what_comes_first_must_be_there(study):
    name, data, output = study
    with pytest.raises(UserError, match="torch fp32 comes first"):
        run([name], data, output, [arm for arm in ARMS_HERE if arm.name == "onnx fp32"])
    with pytest.raises(UserError, match="is no folder"):
        run([name], data / "nowhere", output, ARMS_HERE)


def test_a_conversion_that_was_stopped_is_made_anew(tmp_path, monkeypatch):
    """Its splits come last; without them, cases of the train split would be measured."""
    cases, folder = tmp_path / "acdc", tmp_path / "out"
    (folder / "imagesTr").mkdir(parents=True)
    cases.mkdir()
    made = []

    def convert(_cases, output):
        made.append(output)
        (output / "dataset.json").write_text("{}", encoding="utf-8")
        if (cases / "splits.json").is_file():
            (output / "splits.json").write_text("{}", encoding="utf-8")
        return output

    monkeypatch.setattr(engines, "convert_acdc", convert)
    for _again in range(2):
        assert engines._converted(cases, folder) == folder
    assert made == [folder]
    (cases / "splits.json").write_text("{}", encoding="utf-8")  # so the folder lacks its last file
    for _again in range(2):
        assert engines._converted(cases, folder) == folder
    assert made == [folder, folder]


def test_a_row_of_the_table_says_how_much_faster_and_how_much_worse():
    def row(arm, case, dice, seconds, agreement):
        about = {"model": "m", "arm": arm, "case": case, "mb": 10.0 if "int8" in arm else 40.0}
        return {
            **about,
            "dice": dice,
            "agreement": agreement,
            "network_s": seconds,
            "seconds": seconds + 1,
        }

    rows = [row("torch fp32", "a", 0.9, 6.0, 1.0), row("torch fp32", "b", 0.8, 8.0, 1.0)]
    rows += [row("onnx int8", "a", 0.88, 2.0, 0.98), row("onnx int8", "b", 0.8, 2.0, 0.96)]
    line = tables(rows).splitlines()[-1]
    assert line == (
        "| onnx int8 | 10.0 | 0.9700 (0.9600) | 0.8400 | -0.0100 | 2.00 | 3.50 | 3.00 | 2.67 |"
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_the_cost_of_a_command_counts_what_it_starts():
    hold = "import time; block = bytearray(60_000_000); time.sleep(0.5)"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    cost = cost_of([sys.executable, "-c", start])
    assert 60 < cost.peak_mb < 200
    assert 0 < cost.user_s + cost.system_s < 30
    with pytest.raises(UserError, match="The command failed: no such thing"):
        cost_of([sys.executable, "-c", "import sys; sys.exit('no such thing')"])
