"""An exported model segments as the library does, without torch, and asks for no socket."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import UserError, load_model, load_volume, save_volume, segment
from MedLLMSegLib.cli import segment as segment_command
from MedLLMSegLib.cli.main import main as cli
from MedLLMSegLib.edge import write_export
from MedLLMSegLib.edge.exported_folder import LIST, is_exported, read_exported
from MedLLMSegLib.edge.exported_network import ExportedNetwork
from MedLLMSegLib.edge.logit_reading import LogitReading
from MedLLMSegLib.edge.scan_files import ExportedOptions, segment_scan_files
from MedLLMSegLib.edge.segment_exported import segment_exported
from MedLLMSegLib.edge.write_export import (
    LLM_LICENCE,
    check_replaceable,
    export_model,
    language_model_licence,
)
from MedLLMSegLib.metrics.label_shape import label_shapes
from MedLLMSegLib.registry.catalogue import find_model, read_metadata
from MedLLMSegLib.registry.measured_model import MeasuredModel
from MedLLMSegLib.segmentation.quality.assess import with_quality
from MedLLMSegLib.segmentation.quality.fitted import QualityFit, StructureFit
from MedLLMSegLib.segmentation.quality.norms import learn_norms
from MedLLMSegLib.segmentation.scores import Reading
from Testing.helpers import without_packages
from Testing.helpers.tiny_brain import exported_tiny_brain, tiny_brain, tiny_scan

pytest.importorskip("onnxscript")
pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.xdist_group("graphs"), pytest.mark.usefixtures("brain_of_any_shape")]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder():
    return exported_tiny_brain("onnx")


def with_settings(folder, to, **preprocessing):
    """A copy of an exported model with other settings, and the bundle that has them."""
    copy = shutil.copytree(folder, to / "exported")
    path = copy / "configs/metadata.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    about["preprocessing"] |= preprocessing
    path.write_text(json.dumps(about), encoding="utf-8")
    listed = json.loads((copy / LIST).read_text(encoding="utf-8"))
    listed["measured_model"] = MeasuredModel.of(about).sha256
    (copy / LIST).write_text(json.dumps(listed), encoding="utf-8")
    return copy, tiny_brain(to / "bundle", **preprocessing)


@pytest.mark.parametrize(
    "settings",
    ({}, {"whole_vox": 0}, {"closer_look_mm": None, "spacing_mm": 1.3, "keep_largest": None}),
    ids=("closer look", "windows", "one look"),
)
def test_labels_are_those_of_the_library(folder, tmp_path, settings):
    exported, bundle = with_settings(folder, tmp_path, **settings)
    scan = tiny_scan()
    expected = segment(scan, load_model(bundle, "cpu", "fp32"))
    model = read_exported(exported)
    found = segment_exported(scan, model, ExportedNetwork.of(model))
    assert len(np.unique(expected.labels.array)) > 3
    assert (found.labels.array == expected.labels.array).mean() > 0.999
    assert np.allclose(found.labels.ijk_to_ras, expected.labels.ijk_to_ras)
    for label, confidence in expected.confidence.items():
        assert found.confidence[label] == pytest.approx(confidence, abs=5e-3, nan_ok=True)


def test_quality_is_that_of_the_library(folder, tmp_path):
    """Lights, expected Dice and intervals of volumes, of a fit that belongs to the model."""
    scan = tiny_scan()
    model = load_model(folder.parent / "bundle", "cpu", "fp32")
    result = segment(scan, model)
    norms = learn_norms([(label_shapes(result.labels), result.structures)] * 3)
    keys = {s.sideless_key for s in result.structures}
    fit = QualityFit({"doubt": 1.0}, dict.fromkeys(keys, StructureFit(0.0, 0.9, 1.0)), norms)
    expected = with_quality(result, fit)
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "configs/metadata.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    about["quality"] = {**fit.to_dict(), "measured_model": model.sha256}
    path.write_text(json.dumps(about), encoding="utf-8")
    exported = read_exported(copy)
    found = segment_exported(scan, exported, ExportedNetwork.of(exported))
    assert expected.quality is not None and found.quality is not None
    assert found.quality.scan.light == expected.quality.scan.light
    assert found.quality.structures.keys() == expected.quality.structures.keys()
    assert found.expected_dice == pytest.approx(expected.expected_dice, abs=0.01)
    assert found.expected_dice
    save_volume(scan, tmp_path / "scan.nii.gz")
    [done] = segment_scan_files([tmp_path / "scan.nii.gz"], tmp_path / "o", copy)
    assert done.record["quality"]["light"] == found.quality.scan.light
    assert any("light" in row for row in done.record["structures"])


@pytest.mark.parametrize("paired", (None, (False, True, True, False)))
def test_logits_are_read_as_the_library_reads_them(paired):
    torch = pytest.importorskip("torch")
    outputs = 4 + (paired is not None)
    logits = np.random.default_rng(0).normal(0, 4, (outputs, 3, 4, 5)).astype(np.float32)
    ours, theirs = LogitReading(4, 1.4, paired), Reading(4, 1.4, paired)
    tensor = torch.from_numpy(logits)
    assert np.array_equal(ours.winners(logits), theirs.winners(tensor).numpy())
    values = ours.values_in_place(logits.copy())
    expected = theirs.values(tensor.flatten(1)).view_as(tensor)
    assert np.allclose(values, expected.numpy(), atol=1e-6)
    numbers, certainty = ours.winners_of_values(values)
    expected_numbers, expected_certainty = theirs.winners_of_values(expected)
    assert np.array_equal(numbers, expected_numbers.numpy())
    assert np.allclose(certainty, expected_certainty.numpy(), atol=1e-3)


def test_a_head_is_segmented_without_torch_and_without_a_socket(folder, tmp_path):
    """In a process that finds numpy, scipy, SimpleITK and onnxruntime, and no other package."""
    scan = save_volume(tiny_scan(), tmp_path / "scan.nii.gz")
    output = tmp_path / "labels.nii.gz"
    command = [without_packages.__file__, "segment", str(scan), "--model", str(folder)]
    done = subprocess.run(
        [sys.executable, *command, "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "SOCKETS\nTORCH False" in done.stdout
    model = read_exported(folder)
    here = segment_exported(load_volume(scan), model, ExportedNetwork.of(model))
    assert np.array_equal(load_volume(output).array, here.labels.array)


SILENT = """
import sys
asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event.startswith("socket.") else None)
from pathlib import Path
import numpy as np
from MedLLMSegLib.engines.convert import write_openvino
from MedLLMSegLib.engines.graph import open_graph
from MedLLMSegLib.engines.int8 import _quantise_openvino
from MedLLMSegLib.engines.telemetry import import_nncf, import_onnxruntime, import_openvino
import_openvino(), import_onnxruntime()
path = write_openvino(Path(sys.argv[1]), Path(sys.argv[2]))
if sys.argv[3] == "nncf":
    import_nncf()
    _quantise_openvino(path, [np.ones((1, 1, 16, 16, 16), np.float32)])
open_graph(path, "openvino", 1)(np.zeros((1, 1, 16, 16, 16), np.float32))
print("SOCKETS", *asked)
print("SENDER", sys.modules["openvino_telemetry"])
"""


@pytest.mark.parametrize("package", ("openvino", pytest.param("nncf", marks=pytest.mark.slow)))
def test_openvino_converts_quantises_and_runs_without_a_socket(folder, tmp_path, package):
    pytest.importorskip(package)
    arguments = [str(folder / "network.onnx"), str(tmp_path / "network.xml"), package]
    done = subprocess.run(
        [sys.executable, "-c", SILENT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "SOCKETS\nSENDER None" in done.stdout


def test_files_are_written_and_none_is_written_over_unasked(folder, tmp_path, capsys):
    scan = save_volume(tiny_scan(), tmp_path / "scan.nii.gz")
    command = ["segment", str(scan), "--model", str(folder), "--output", str(tmp_path / "out")]
    assert cli([*command, "--volumetry", "--structures", "one,two"]) == 0
    assert "licence MIT" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"scan.seg.nrrd", "scan.nii.gz", "scan_structures.csv"}
    assert set(np.unique(load_volume(tmp_path / "out/scan.nii.gz").array)) <= {0, 3, 4}
    assert cli(command) == 2
    assert "already exists" in capsys.readouterr().err
    assert cli([*command, "--overwrite"]) == 0


@pytest.mark.parametrize(
    "option",
    (
        ["--augment", "2"],
        ["--report"],
        ["--engine", "onnx"],
        ["--device", "cuda"],
        ["--input", "scan.nii.gz"],
        ["--unit", "pet=SUV"],
    ),
)
def test_an_option_that_is_not_there_is_named(folder, tmp_path, capsys, option):
    command = ["segment", str(tmp_path), "--model", str(folder), "--output", str(tmp_path / "o")]
    assert cli([*command, *option]) == 2
    assert option[0] in capsys.readouterr().err


def test_a_command_without_a_scan_is_refused(folder, tmp_path, capsys):
    assert cli(["segment", "--model", str(folder), "--output", str(tmp_path / "o")]) == 2
    assert "No scan is named" in capsys.readouterr().err


def test_an_id_beats_a_folder_of_its_name_in_the_working_directory(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(segment_command, "_segment_exported", lambda *_: ran.append("folder") or 0)
    monkeypatch.setattr(segment_command, "_segment_with_torch", lambda *_: ran.append("id") or 0)
    for name in ("brain-mr", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / LIST).write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    named = ([], ["--model", "brain-mr"], ["--model", "./brain-mr"], ["--model", "mine"])
    for model in (*named, ["--model", str(tmp_path / "brain-mr")]):
        assert cli(["segment", "scan.nii.gz", "-o", "o.nii.gz", *model]) == 0
    assert ran == ["id", "id", "folder", "folder", "folder"]


def test_a_scan_is_no_output_and_bf16_is_not_there(folder, tmp_path):
    scan = save_volume(tiny_scan(), tmp_path / "scan.nii.gz")
    with pytest.raises(UserError, match="would overwrite the scan"):
        segment_scan_files([scan], scan, folder, ExportedOptions(overwrite=True))
    with pytest.raises(UserError, match="bf16 was asked for"):
        segment_scan_files([scan], tmp_path / "o", folder, ExportedOptions(precision="bf16"))


def test_a_damaged_export_is_refused_in_a_sentence(folder, tmp_path):
    assert is_exported(folder) and not is_exported(tmp_path)
    with pytest.raises(UserError, match="is not an exported model"):
        read_exported(tmp_path)
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / LIST).write_text(json.dumps({"format": 99}), encoding="utf-8")
    with pytest.raises(UserError, match=r"is damaged \(.*99"):
        read_exported(copy)


def test_settings_other_than_those_that_were_exported_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "configs/metadata.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**about, "title": "Another title"}), encoding="utf-8")
    assert read_exported(copy).about["title"] == "Another title"  # no answer depends on it
    about["label_table"] = [pair[::-1] for pair in about["label_table"]]
    path.write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(UserError, match=r"settings .* are not those of the model"):
        read_exported(copy)


def test_a_folder_that_holds_more_than_an_export_is_not_replaced(folder, tmp_path):
    check_replaceable(folder)
    check_replaceable(tmp_path / "new")
    (tmp_path / LIST).write_text('{"mine": 1}', encoding="utf-8")
    with pytest.raises(UserError, match="is no exported model"):
        export_model("brain-mr", "onnx", tmp_path)
    for name in ("mine.txt", "docs/mine.txt", "cases/mine.txt"):
        copy = shutil.copytree(folder, tmp_path / name.replace("/", "-"))
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text("mine", encoding="utf-8")
        with pytest.raises(UserError, match="holds more than an exported model"):
            export_model("brain-mr", "onnx", copy)
        assert (copy / name).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ("LICENSE", "docs/README.md"))
def test_a_file_that_a_bundle_lacks_is_named_before_the_work(tmp_path, monkeypatch, name):
    monkeypatch.setattr(write_export, "write_graphs", lambda *_: pytest.fail("graphs were made"))
    bundle = tiny_brain(tmp_path / "bundle")
    (bundle / name).unlink()
    with pytest.raises(UserError, match=f"{name}.* is missing"):
        export_model(bundle, "onnx", tmp_path / "exported")


def test_the_licence_of_the_language_model_is_its_own(folder):
    assert not (folder / LLM_LICENCE).exists()  # the tiny model has no such layers
    for model in ("brain-mr", "cxr-pneumonia"):
        about = read_metadata(find_model(model, None).folder)
        assert "Apache License" in language_model_licence(about)
    llm = {"source": "/models/llama", "layers": [-1]}
    about = {"network": {"llm": llm}, "llm": "/models/llama, layer -1", "llm_licence": "Llama 3.2"}
    own = language_model_licence(about)
    assert "Licence: Llama 3.2" in own and "/models/llama, layer -1" in own
    assert "Licence: not stated" in language_model_licence({**about, "llm_licence": None})


def test_nothing_else_is_written_over_and_only_graphs_are_exported(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is no exported model"):
        export_model("brain-mr", "onnx", tmp_path)
    with pytest.raises(UserError, match='"torch" is nothing to export to'):
        export_model("brain-mr", "torch", tmp_path / "new")
    with pytest.raises(UserError, match="the model that it works for"):
        export_model("brain-t1-localizer", "onnx", tmp_path / "new")
    listed = json.loads((folder / LIST).read_text(encoding="utf-8"))
    model = load_model(folder.parent / "bundle", "cpu")
    assert listed["measured_model"] == model.sha256
    assert (folder / "LICENSE").read_text() == "licence"
