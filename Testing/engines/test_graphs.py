"""A network's graphs give its logits, at sizes that they were not traced with."""

import json

import pytest
import torch
from torch import nn

from MedLLMSegLib import UserError, load_model
from MedLLMSegLib.edge.exported_folder import read_exported
from MedLLMSegLib.engines import network_graphs
from MedLLMSegLib.engines.engine_names import check_engine
from MedLLMSegLib.engines.graph_folder import GraphFile
from MedLLMSegLib.engines.network_graphs import engine_network, open_graphs
from Testing.helpers.tiny_brain import exported_tiny_brain, tiny_brain

pytest.importorskip("onnxscript")
pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.xdist_group("graphs")


@pytest.fixture(scope="module", params=("onnx", "openvino"))
def in_engine(request):
    model = read_exported(exported_tiny_brain(request.param))
    return open_graphs(model.graphs, model.folder, threads=1)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return load_model(tiny_brain(tmp_path_factory.mktemp("bundle") / "tiny"), "cpu").network


@pytest.mark.parametrize("shape", ((20, 48, 56), (8, 24, 16), (29, 17, 40), (3, 5, 9)))
def test_logits_are_those_of_torch_at_any_size(in_engine, network, shape):
    image = torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network(image)
        found = in_engine(image)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=2e-3 * float(expected.abs().max()))
    same = found[:, :4].argmax(1) == expected[:, :4].argmax(1)
    assert same.float().mean() > 0.999


def test_the_head_makes_its_logits_slab_by_slab(in_engine):
    image = torch.randn((1, 1, 40, 16, 16), generator=torch.Generator().manual_seed(1))
    slabs = [slab.shape[2] for slab in in_engine.slabs_in(image, "fp32")]
    assert slabs == [16, 16, 8]


def test_a_file_that_was_changed_is_not_opened(tmp_path):
    (tmp_path / "network.onnx").write_bytes(b"a graph")
    graph = GraphFile.of("onnx", tmp_path / "network.onnx", (1, 1, 1))
    with pytest.raises(UserError, match="ONNX Runtime cannot read"):
        graph.open(tmp_path)
    (tmp_path / "network.onnx").write_bytes(b"a graph!")
    with pytest.raises(UserError, match="is not the file that was exported"):
        graph.open(tmp_path)


@pytest.mark.parametrize(
    "damage", ({"files": {}}, {"files": {"../x.onnx": "0"}}, {"multiple": [1, 2]}, {"fold": "x"})
)
def test_a_damaged_description_is_no_graph(damage):
    data = GraphFile("onnx", {"network.onnx": "00"}, (8, 8, 8), 2).to_dict()
    assert GraphFile.from_dict(json.loads(json.dumps(data))).fold == 2
    with pytest.raises(ValueError):
        GraphFile.from_dict({**data, **damage})


def test_an_engine_that_is_not_there_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("MedLLMSegLib.engines.engine_names.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'needs the package openvino.*"medllmseg\[export\]"'):
        check_engine("openvino")
    with pytest.raises(UserError, match='"tensorrt" is not an engine'):
        check_engine("tensorrt")


def test_graphs_are_kept_for_a_measured_model(monkeypatch, temporary_cache):
    """Made once; made anew for another model, and where a file was damaged."""
    exported, made = read_exported(exported_tiny_brain("onnx")), []

    def write(network, engine, folder, prefix=""):
        made.append(engine)
        for graph in exported.graphs.values():
            for name in graph.files:
                (folder / name).write_bytes((exported.folder / name).read_bytes())
        return exported.graphs

    monkeypatch.setattr(network_graphs, "write_graphs", write)
    one, other = "ab" * 32, "cd" * 32
    for sha256 in (one, one, other):
        assert engine_network(torch.nn.Identity(), "onnx", sha256).fold == 2
    assert len(made) == 2
    (kept,) = temporary_cache.glob(f"exports/{one[:24]}-onnx/network.onnx")
    kept.write_bytes(b"damaged")
    engine_network(torch.nn.Identity(), "onnx", one)
    assert len(made) == 3
    assert not list(temporary_cache.glob("exports/.medllmseg-*"))


class OnGpu(nn.Module):
    """Stands for a network on a GPU, which not every computer has."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, device="meta"))

    def cpu(self):
        self.weight = nn.Parameter(torch.zeros(1))
        return self


def test_graphs_of_a_network_on_a_gpu_are_made_of_a_copy_on_the_cpu(monkeypatch, temporary_cache):
    class Stop(Exception):
        pass

    def write(network, *_):
        assert network.weight.device.type == "cpu"
        raise Stop

    monkeypatch.setattr(network_graphs, "write_graphs", write)
    loaded = OnGpu()
    with pytest.raises(Stop):
        network_graphs.engine_network(loaded, "onnx", "1" * 64)
    assert loaded.weight.device.type == "meta"
