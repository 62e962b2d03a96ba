"""Graphs are made by a process of its own, and what that one does to torch ends with it."""

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.core.own_environment import own_environment
from MedLLMSegLib.edge.exported_folder import read_exported
from MedLLMSegLib.engines.engine_names import check_engine
from MedLLMSegLib.engines.graph_folder import GraphFile
from MedLLMSegLib.engines.int8 import check_another_size, quantised
from MedLLMSegLib.engines.own_process import in_own_process
from Testing.helpers.tiny_brain import exported_tiny_brain

pytestmark = pytest.mark.xdist_group("graphs")


def test_what_the_work_returns_and_what_it_says_come_back(tmp_path):
    graph = GraphFile("onnx", {"network.onnx": "00"}, (8, 8, 8), 2)
    assert in_own_process(GraphFile.to_dict, graph) == graph.to_dict()
    with pytest.raises(UserError, match='"tvm" is not an engine'):
        in_own_process(check_engine, "tvm")


@pytest.mark.parametrize("work, said", ((os._exit, "exit code 3"), (os.listdir, "TypeError")))
def test_a_process_that_dies_is_no_answer(work, said):
    with pytest.raises(UserError, match=said):
        in_own_process(work, 3 if work is os._exit else 3.5)


def test_a_full_disk_stays_one():
    """So that the cache says what to do about it."""
    with pytest.raises(FileNotFoundError):
        in_own_process(os.listdir, "nowhere")


@pytest.mark.slow
def test_it_ends_when_its_owner_is_killed(tmp_path):
    """As a worker is whose Cancel was not heard: nothing goes on, and nothing stays."""
    code = (
        "import time; from MedLLMSegLib.engines.own_process import in_own_process;"
        "in_own_process(time.sleep, 60)"
    )
    environment = {**own_environment(), "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        _wait_for(lambda: any(tmp_path.glob("medllmseg-*/log")))
        time.sleep(1)  # it imports
    finally:
        owner.kill()
        owner.wait()
    _wait_for(lambda: not any(tmp_path.iterdir()))


def _wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_finds_this_library_and_nothing_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert (
        in_own_process(
            GraphFile.from_dict,
            {"engine": "onnx", "files": {"a.onnx": "0"}, "multiple": None, "fold": 1},
        ).engine
        == "onnx"
    )


def test_exporting_leaves_nothing_of_the_exporter_behind():
    """A training that follows in the same process meets the torch that it would have met."""
    pytest.importorskip("onnxscript")
    exported_tiny_brain("onnx")
    assert not {"torch.onnx._internal.exporter", "torch.onnx.ops"} & set(sys.modules)


@pytest.mark.slow
def test_eight_bits_of_openvino_take_images_of_any_size(tmp_path):
    """NNCF gave each token its own range where it goes into the convolutions of the local branch,
    so that the graph took images of one size alone; nothing was raised for another.
    """
    if find_spec("nncf") is None:  # found, not imported: that is looked for below
        pytest.skip("nncf is not installed")
    exported = read_exported(exported_tiny_brain("openvino"))
    shutil.copytree(exported.folder, tmp_path / "small")
    graph, rng = exported.graphs["network"], np.random.default_rng(0)
    images = [rng.normal(size=(1, 1, 16, 32, 40)).astype(np.float32) for _ in range(2)]
    before = set(sys.modules)
    small = quantised(graph, tmp_path / "small", images)
    assert "nncf" not in set(sys.modules) - before
    assert small.files != graph.files
    for shape in ((16, 32, 40), (24, 24, 32)):
        image = rng.normal(size=(1, 1, *shape)).astype(np.float32)
        found = small.open(tmp_path / "small", 1)(image)
        expected = graph.open(exported.folder, 1)(image)
        assert found.shape == expected.shape
        assert 1e-4 < np.abs(found - expected).mean() / expected.std() < 0.1


class OfOneSize:
    """Stands for a graph that gives what it gave the first time."""

    multiple, fold = (8, 8, 8), 2

    def open(self, folder, threads):
        return lambda image: np.zeros((1, 3, 8, 16, 20))


def test_a_graph_of_one_size_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"of one size alone, \(16, 32, 40\)"):
        check_another_size(OfOneSize(), tmp_path, (1, 1, 16, 32, 40))
    check_another_size(OfOneSize(), tmp_path, (1, 1, 8, 24, 32))
