"""What a second press of the button does besides computing: nothing that was done before."""

import sys
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import Volume
from MedLLMSegLib.registry.catalogue import METADATA
from MedLLMSegLib.worker.array_files import load_segmentation, save_volume
from MedLLMSegLib.worker.tasks import Tasks, library_engine
from Testing.helpers.task_progress import Listener
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle
from Testing.helpers.worker_owner import LINUX

WAY = {"volume.json", "segmentation.json", "array.npy"}  # and no format of images


class FilesOpened:
    """The paths that Python opens within a block. An audit hook cannot be taken away again."""

    def __init__(self):
        self.paths, self._listening = [], False
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if self._listening and event == "open" and isinstance(arguments[0], str):
            self.paths.append(Path(arguments[0]))

    def __enter__(self):
        self.paths, self._listening = [], True
        return self

    def __exit__(self, *exception):
        self._listening = False


@pytest.fixture(scope="module")
def opened():
    return FilesOpened()


@pytest.fixture
def tasks():
    return Tasks(library_engine())


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def press(tasks, bundle, tmp_path):
    """press(name, **options) -> the run's folder, whose result is complete."""

    def ask(name, **options):
        run = tmp_path / name
        scan = np.random.default_rng(0).normal(size=(10, 40, 36)).astype(np.float32)
        save_volume(Volume(scan, oblique(scan.shape, (5.0, 1.5, 1.5)), "scan"), run / "volume")
        message = {"volume": str(run / "volume"), "output": str(run / "result"), "device": "cpu"}
        tasks.segment({**message, "model": str(bundle), **options}, Listener())
        return run

    return ask


def test_a_second_press_reads_the_scan_writes_the_labels_and_loads_nothing(press, bundle, opened):
    with opened as first:
        press("first")
    assert bundle / "models/model.safetensors" in first.paths  # what the check below looks for
    modules = set(sys.modules)
    run = bundle.parent / "second"
    with opened as second:
        press("second")
    from_bundle = {path for path in second.paths if path.is_relative_to(bundle)}
    assert from_bundle <= {bundle / METADATA}  # whether the bundle is still the one that is loaded
    others = [path for path in second.paths if not path.is_relative_to(bundle)]
    assert others
    assert [path for path in others if not (path.is_relative_to(run) and path.name in WAY)] == []
    assert sorted(path.name for path in run.rglob("*.npy")) == ["array.npy", "array.npy"]
    assert set(sys.modules) == modules


def test_maps_travel_only_if_they_are_asked_for_and_as_they_are(press):
    plain = load_segmentation(press("plain") / "result")
    assert plain.labels.array.dtype == np.uint8
    assert (plain.probabilities, plain.uncertainty) == (None, None)
    full = load_segmentation(press("full", probabilities=True, uncertainty=True) / "result")
    assert np.array_equal(full.labels.array, plain.labels.array)
    assert full.probabilities.array.dtype == full.uncertainty.array.dtype == np.float32


@LINUX
@pytest.mark.parametrize("options", ({}, {"uncertainty": True}, {"side": "left"}))
def test_the_scans_file_is_let_go_before_the_answer(press, tmp_path, options):
    """Windows removes no file that a process has mapped. This model knows no sides: an error."""
    error = None
    try:
        press("run", **options)
    except Exception as raised:
        error = str(raised)  # as the server keeps it: not the exception, which holds its frames
    assert (error is not None) == ("side" in options)
    assert str(tmp_path / "run") not in Path("/proc/self/maps").read_text(encoding="utf-8")
