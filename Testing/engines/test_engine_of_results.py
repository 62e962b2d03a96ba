"""A scan goes through another engine by the same chain, and every result is bound to it."""

import shutil

import numpy as np
import pytest

from MedLLMSegLib import UserError, load_model, save_volume, segment
from MedLLMSegLib.cli.main import main as cli
from MedLLMSegLib.edge.exported_folder import read_exported
from MedLLMSegLib.engines import network_graphs
from MedLLMSegLib.registry.domain_reference import DomainReference, as_stored, write_domain
from MedLLMSegLib.registry.feature_reference import FeatureReference
from MedLLMSegLib.segmentation import kept_precision, precision
from MedLLMSegLib.segmentation.batch.many.model_request import LoadedModels, ModelRequest
from MedLLMSegLib.segmentation.domain_features import window_features
from Testing.helpers.tiny_brain import exported_tiny_brain, tiny_brain, tiny_scan

pytest.importorskip("onnxscript")
pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.xdist_group("graphs"), pytest.mark.usefixtures("brain_of_any_shape")]


@pytest.fixture(autouse=True)
def graphs_at_hand(monkeypatch):
    """The tiny model's graphs are not made anew in each test."""

    def write(network, engine, folder, prefix=""):
        exported = read_exported(exported_tiny_brain(engine))
        for graph in exported.graphs.values():
            for name in graph.files:
                shutil.copyfile(exported.folder / name, folder / name)
        return exported.graphs

    monkeypatch.setattr(network_graphs, "write_graphs", write)


@pytest.fixture
def bundle(tmp_path):
    return tiny_brain(tmp_path / "bundle")


@pytest.mark.parametrize("engine", ("openvino", "onnx"))
def test_labels_are_those_of_torch(bundle, engine):
    scan = tiny_scan()
    expected = segment(scan, bundle, device="cpu", precision="fp32")
    model = load_model(bundle, precision="fp32", engine=engine)
    assert (model.engine, model.device.type) == (engine, "cpu")
    found = segment(scan, model)
    assert (found.labels.array == expected.labels.array).mean() > 0.999
    assert len(np.unique(expected.labels.array)) > 3
    uncertain = segment(scan, model, uncertainty=True)
    assert (uncertain.labels.array == found.labels.array).mean() > 0.999


@pytest.mark.parametrize("threshold", (1e-3, 1e5))
def test_the_domain_is_told_as_in_torch(bundle, threshold):
    model, rng = load_model(bundle, "cpu", "fp32"), np.random.default_rng(0)
    rows = [
        window_features(model.network, rng.normal(size=(8, 8, 8)), (8, 8, 8), model.device)
        for _ in range(8)
    ]
    reference = as_stored(FeatureReference.fit(np.stack(rows), 2))
    write_domain(bundle, DomainReference(reference, threshold, "noise"), {})
    expected = segment(tiny_scan(), bundle, device="cpu", precision="fp32")
    assert expected.domain.outside == (threshold < 1)
    loaded = load_model(bundle, "cpu", "fp32")
    for engine in ("onnx", "openvino"):
        found = segment(tiny_scan(), loaded, engine=engine)
        assert found.domain == expected.domain
        assert found.notes == expected.notes


def test_a_batch_knows_its_engine(bundle, tmp_path, capsys):
    scan = save_volume(tiny_scan(), tmp_path / "scan.nii.gz")
    command = ["segment", str(scan), "--model", str(bundle), "--output", str(tmp_path / "out")]
    command += ["--precision", "fp32", "--device", "cpu", "--engine"]

    def run(engine):
        assert cli([*command, engine]) == 0
        return "finished before" in capsys.readouterr().out

    assert [run(e) for e in ("torch", "onnx", "onnx", "torch", "torch")] == [
        *(False, False, True),
        *(False, True),
    ]


def test_the_precision_is_decided_for_each_engine(bundle, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    model = load_model(bundle, "cpu", engine="openvino")
    assert model.settled_precision() is None
    decided = kept_precision.Precision("bf16", "measured")
    kept_precision.keep(decided, model.sha256, "openvino")
    assert load_model(bundle, "cpu", engine="openvino").settled_precision().name == "bf16"
    assert load_model(bundle, "cpu").settled_precision() is None
    assert load_model(bundle, "cpu", engine="onnx").settled_precision().name == "fp32"
    with pytest.raises(UserError, match="bf16 was asked for"):
        load_model(bundle, "cpu", "bf16", "onnx")


def test_a_worker_of_a_batch_gets_the_same_engine(bundle):
    model = load_model(bundle, "cpu", engine="onnx")
    request = ModelRequest.of((str(bundle), None), LoadedModels(model), "cpu")
    assert request.engine == "onnx"
    assert request.load().model.engine == "onnx"


def test_an_engine_runs_on_the_cpu(bundle):
    with pytest.raises(UserError, match='the device "cuda" was asked for'):
        load_model(bundle, "cuda", engine="openvino")
    with pytest.raises(UserError, match='"tvm" is not an engine'):
        segment(tiny_scan(), bundle, engine="tvm")


def test_a_model_in_one_engine_is_not_made_into_another(bundle, temporary_cache):
    model = load_model(bundle, precision="fp32", engine="onnx")
    for other in ("openvino", "torch"):
        with pytest.raises(UserError, match="load the model anew"):
            model.in_engine(other)
