"""`medllmseg segment --structures --volumetry`: only what was asked for is written, and tables."""

import csv
import json
import math

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import save_volume
from MedLLMSegLib.segmentation.batch import segment_batch
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.selection import only
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle

STRUCTURES = brain_structures()


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


@pytest.fixture
def brains(monkeypatch):
    """The model's answers become a whole brain: two hippocampi and a stem, in 400 mL."""

    def answer(volume, model, **options):
        labels = np.zeros(volume.array.shape, np.uint8)
        labels[2, :, :3], labels[2, :, 3:4], labels[4] = 17, 53, 16
        confidence = {s.label: 0.9 if s.label in (16, 17, 53) else math.nan for s in STRUCTURES}
        whole = Segmentation(
            volume.with_array(labels), STRUCTURES, confidence,
            model="brain", seconds=1.0, intracranial=IntracranialVolume(400.0),
        )  # fmt: skip
        return only(whole, options["structures"]) if options["structures"] else whole

    monkeypatch.setattr(segment_batch, "segment", answer)
    monkeypatch.setattr(SegmenterModel, "structures_for", lambda self, lateral: STRUCTURES)


def test_a_whole_brain_leaves_its_volumetry_in_all_tables(scan, segment, brains, capsys):
    code, output = segment(scan, "--volumetry")
    assert code == 0
    with open(output / "volumes.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["intracranial_ml"]) == 400
    assert float(row["hippocampus_asymmetry_percent"]) == 100.0
    percent = 100 * float(row["left_hippocampus_ml"]) / 400
    assert float(row["left_hippocampus_percent"]) == pytest.approx(percent, abs=1e-3)
    with open(output / "scan_structures.csv", newline="") as file:
        by_name = {row["name"]: row for row in csv.DictReader(file)}
    assert float(by_name["Left hippocampus"]["percent_intracranial"]) == pytest.approx(
        percent, abs=1e-3
    )
    assert "intracranial volume 400 mL" in capsys.readouterr().out


def test_a_group_alone_keeps_its_percent_of_the_whole(scan, segment, brains):
    code, output = segment(scan, "--structures", "deep grey", "--volumetry")
    assert (code, labels_in(output)) == (0, {0, 17, 53})
    with open(output / "volumes.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["intracranial_ml"]) == 400
    assert float(row["left_hippocampus_percent"]) > 0
    assert "brain_stem_ml" not in row
