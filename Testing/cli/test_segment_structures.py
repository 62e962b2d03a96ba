"""`medllmseg segment --structures --volumetry`: only what was asked for is written, and tables."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import save_volume
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def scan(tmp_path):
    shape = (6, 24, 20)
    array = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    return save_volume(Volume(array, oblique(shape, (2.0, 2.0, 8.0))), tmp_path / "scan.nii.gz")


@pytest.fixture
def segment(bundle, tmp_path):
    def run(scan, *more):
        output = tmp_path / "out"
        return main(
            ["segment", str(scan), "--model", str(bundle), "--output", str(output), *more]
        ), output

    return run


def labels_in(folder):
    return set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "scan.nii.gz")))))


def test_only_the_named_structure_is_written_and_listed(scan, segment, capsys):
    code, output = segment(scan)
    assert (code, labels_in(output)) == (0, {0, 1, 4})
    code, output = segment(scan, "--structures", "Four")  # other structures are another run
    assert (code, labels_in(output)) == (0, {0, 4})
    record = json.loads((output / "scan.medllmseg.json").read_text())
    assert [s["key"] for s in record["structures"]] == ["four"]
    header = (output / "volumes.csv").read_text().splitlines()[0]
    assert header == "scan,status,model,four_ml,message"
    capsys.readouterr()
    segment(scan, "--structures", "Four")
    assert "skipped" in capsys.readouterr().out


def test_an_unknown_structure_is_refused_before_the_work(scan, segment, capsys):
    code, output = segment(scan, "--structures", "one,fuor")
    assert code == 2
    assert 'no structure or group "fuor"; it has four, one.' in capsys.readouterr().err
    assert not output.exists()


def test_the_volumetry_has_one_row_a_structure(scan, segment):
    code, output = segment(scan, "--volumetry")
    assert code == 0
    with open(output / "scan_structures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    volumes = {s["key"]: s["volume_ml"] for s in json.loads(
        (output / "scan.medllmseg.json").read_text())["structures"]}  # fmt: skip
    assert [row["name"] for row in rows] == ["One", "Four"]
    assert [float(row["volume_ml"]) for row in rows] == pytest.approx(list(volumes.values()))
