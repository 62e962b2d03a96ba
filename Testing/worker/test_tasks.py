"""Which models stay loaded between two requests, and what a training gets."""

import json
import os
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

from MedLLMSegLib import Segmentation, UserError, Volume
from MedLLMSegLib.registry.catalogue import BUNDLES, METADATA
from MedLLMSegLib.segmentation.region import Region
from MedLLMSegLib.worker.array_files import load_explanation, save_volume
from MedLLMSegLib.worker.tasks import Engine, Tasks


class Loaded:
    def __init__(self, name, device, notes=()):
        self.name, self.device, self.notes = name, device, notes


@pytest.fixture
def tasks():
    loaded = []

    def load(name, device):
        loaded.append((name, device))
        return Loaded(
            name,
            device,
            ("The GPU's memory was too small; the CPU was used.",) if device == "full" else (),
        )

    tasks = Tasks(Engine(load, None, None, None))
    tasks.loaded = loaded
    return tasks


@pytest.fixture
def bundles(tmp_path):
    """Three bundles of the user's."""
    folders = []
    for name in "abc":
        shutil.copytree(BUNDLES / "hippocampus-t1" / "configs", tmp_path / name / "configs")
        about = json.loads((tmp_path / name / METADATA).read_text())
        (tmp_path / name / METADATA).write_text(
            json.dumps({**about, "id": name, "weights_sha256": name * 64})
        )
        folders.append(str(tmp_path / name))
    return folders


def test_a_model_is_loaded_once_for_each_device(tasks):
    first = tasks.model("hippocampus-t1", "cpu")
    assert tasks.model("hippocampus-t1", "cpu") is first
    assert tasks.model("hippocampus-t1", "cuda") is not first
    assert tasks.loaded == [("hippocampus-t1", "cpu"), ("hippocampus-t1", "cuda")]


def test_two_models_are_kept_and_the_one_not_used_for_longest_goes(tasks, bundles):
    a, b, c = bundles
    for folder in (a, b, a, c, a, b):
        tasks.model(folder, "cpu")
        assert len(tasks.models) <= 2
    assert [name for name, _ in tasks.loaded] == [a, b, c, b]


def test_room_is_made_before_the_next_one_is_loaded(tasks, bundles):
    held = []
    load = tasks.engine.load
    tasks.engine = Engine(
        lambda *which: held.append(len(tasks.models)) or load(*which), None, None, None
    )
    for folder in bundles:
        tasks.model(folder, "cpu")
    assert held == [0, 1, 1]


@pytest.mark.parametrize(
    "change", ({"weights_sha256": "f" * 64}, {"calibration": {"temperature": 2.0}})
)
def test_a_bundle_that_changed_is_loaded_again(tasks, bundles, change):
    path = os.path.join(bundles[0], METADATA)
    tasks.model(bundles[0], "cpu")
    with open(path) as file:
        about = json.load(file)
    with open(path, "w") as file:
        json.dump({**about, **change}, file)
    os.utime(path, ns=(1, 1))  # a clock that counts whole seconds would not show it
    tasks.model(bundles[0], "cpu")
    assert len(tasks.loaded) == 2


def test_a_bundle_that_was_deleted_is_not_used_any_more(tasks, bundles):
    tasks.model(bundles[0], "cpu")
    shutil.rmtree(bundles[0])
    with pytest.raises(UserError, match="no model called"):
        tasks.model(bundles[0], "cpu")


def test_a_model_that_did_not_fit_its_gpu_gets_another_chance(tasks):
    tasks.model("hippocampus-t1", "full")
    tasks.model("hippocampus-t1", "full")
    assert len(tasks.loaded) == 2
    assert not tasks.models


def test_a_training_has_the_memory_to_itself_and_its_output_is_its_own(tasks, tmp_path):
    asked = []
    tasks.engine = Engine(
        tasks.engine.load,
        None,
        lambda fields, device, progress, say: (
            asked.append((fields, device, len(tasks.models))) or tmp_path / "run/bundle"
        ),
        None,
    )
    tasks.model("hippocampus-t1", "cpu")

    def report(stage, fraction, history):
        pass

    report.log = None
    answer = tasks.train(
        {
            "request": {"source": "x", "output": "elsewhere", "steps": 3},
            "output": str(tmp_path / "run"),
        },
        report,
    )
    assert asked == [({"source": "x", "output": str(tmp_path / "run"), "steps": 3}, "auto", 0)]
    assert answer == {"bundle": str(tmp_path / "run/bundle")}


REGION = Region.from_faces((-1, -2, -3, 4, 5, 6))


@pytest.mark.parametrize(
    "message, options",
    (
        ({"device": "cpu", "structures": ["hippocampus"]}, {"structures": ["hippocampus"]}),
        ({"region": [list(corner) for corner in REGION.corners_ras]}, {"region": REGION}),
    ),
    ids=("structures", "region"),
)
def test_what_was_asked_for_reaches_the_segmentation(tmp_path, message, options):
    asked = []

    def segment(volume, model, *, progress, **options):
        asked.append(options)
        return Segmentation(volume.with_array(np.zeros(volume.array.shape, np.uint8)), ())

    tasks = Tasks(Engine(Loaded, segment, None, None))
    save_volume(Volume(np.zeros((2, 3, 4), np.float32), np.eye(4)), tmp_path / "scan")
    places = {"volume": str(tmp_path / "scan"), "output": str(tmp_path / "out")}
    tasks.segment({**message, **places}, lambda stage, fraction: None)
    assert asked == [options]


def test_each_engine_has_a_loaded_model_of_its_own(tmp_path):
    asked = []

    def load(name, device, engine="torch"):
        return Loaded(name, engine)

    def segment(volume, model, *, progress):
        asked.append(model)
        return Segmentation(volume.with_array(np.zeros(volume.array.shape, np.uint8)), ())

    tasks = Tasks(Engine(load, segment, None, None))
    save_volume(Volume(np.zeros((2, 3, 4), np.float32), np.eye(4)), tmp_path / "scan")
    message = {"volume": str(tmp_path / "scan"), "model": "brain-mr"}
    for n, engine in enumerate(({"engine": "onnx"}, {}, {"engine": "onnx"})):
        tasks.segment({**message, **engine, "output": str(tmp_path / str(n))}, lambda *_: None)
    assert [model.device for model in asked] == ["onnx", "torch", "onnx"]
    assert asked[2] is asked[0]


def test_a_model_whose_parts_are_asked_for_is_loaded_once_and_handed_over(tmp_path):
    asked, loaded = [], []

    def load(name, device):
        loaded.append((name, device))
        return Loaded(name, device)

    def segment(volume, model, *, progress, with_model=None):
        asked.append((model, with_model))
        return Segmentation(volume.with_array(np.zeros(volume.array.shape, np.uint8)), ())

    tasks = Tasks(Engine(load, segment, None, None))
    save_volume(Volume(np.zeros((2, 3, 4), np.float32), np.eye(4)), tmp_path / "scan")
    message = {"volume": str(tmp_path / "scan"), "device": "cpu", "model": "brain-mr"}
    for n, more in enumerate(({"with_model": "hippocampus-t1"}, {"with_model": None}) * 2):
        tasks.segment({**message, **more, "output": str(tmp_path / str(n))}, lambda *_: None)
    assert loaded == [("brain-mr", "cpu"), ("hippocampus-t1", "cpu")]
    (brain, parts), (_brain, none) = asked[:2]
    assert (brain.name, parts.name, none) == ("brain-mr", "hippocampus-t1", None)
    assert asked[2:] == asked[:2]


def test_a_structure_is_explained_with_the_model_that_stays_loaded(tmp_path):
    def explain(volume, model, *, progress, structure):
        progress("explain", 0.5)
        return Explained(volume.with_array(volume.array / 2), f"{structure} by {model}")

    @dataclass(frozen=True)
    class Explained:
        evidence: Volume
        structure: str
        notes: tuple[str, ...] = ()

        def facts(self):
            return "layer tokens"

        def sentences(self):
            return ("Half of it lies inside.", *self.notes)

    engine = Engine(lambda name, device: name, None, None, list, explain=explain)
    tasks = Tasks(engine, notes=("The worker is slow.",))
    volume = Volume(np.ones((2, 3, 4), np.float32), np.eye(4), "head")
    save_volume(volume, tmp_path / "scan")
    message = {
        "volume": str(tmp_path / "scan"),
        "output": str(tmp_path / "out"),
        "structure": "Left hippocampus",
        "model": "hippocampus-t1",
        "device": "cpu",
    }
    shown = load_explanation(tasks.explain(message, lambda stage, fraction: None)["folder"])
    assert shown.structure == "Left hippocampus by hippocampus-t1"
    assert shown.sentences == ("Half of it lies inside.", "The worker is slow.")
    assert (shown.evidence.array == 0.5).all()
    (tmp_path / "out" / "explanation.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="missing or damaged"):
        load_explanation(tmp_path / "out")
