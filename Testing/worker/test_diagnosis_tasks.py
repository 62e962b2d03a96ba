"""`diagnose` through the worker: what goes there and back, models that stay loaded, one real
process with progress and cancel.
"""

import json
import os
import time

import numpy as np
import pytest
from PIL import Image

from MedLLMSegLib import Cancelled, UserError, Volume, diagnose
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.registry.classifier_config import RecordConfig
from MedLLMSegLib.registry.user_models import import_model
from MedLLMSegLib.worker.array_files import load_diagnosis, save_diagnosis, save_volume
from MedLLMSegLib.worker.client import MODULE
from MedLLMSegLib.worker.tasks import Tasks, library_engine
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.task_progress import Listener
from Testing.helpers.tiny_classifier import tiny_network, write_tiny
from Testing.helpers.worker_owner import Owner


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tasks():
    return Tasks(library_engine())


@pytest.fixture
def image(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 64)).astype(np.uint8)).save(
        tmp_path / "x.png"
    )
    return tmp_path / "x.png"


def quiet(stage, fraction):
    pass


def ask(tasks, tmp_path, report=quiet, **message):
    place = tmp_path / f"result {len(list(tmp_path.iterdir()))}"
    return load_diagnosis(
        tasks.diagnose({"output": str(place), "device": "cpu", **message}, Listener(report))[
            "folder"
        ]
    )


def same(a, b):
    assert (
        a.probabilities,
        a.answer,
        a.threshold,
        a.confidence,
        a.heat_class,
        a.notes,
        a.model,
    ) == (b.probabilities, b.answer, b.threshold, b.confidence, b.heat_class, b.notes, b.model)
    assert np.array_equal(a.heat_map.array, b.heat_map.array)
    assert np.array_equal(a.heat_map.ijk_to_ras, b.heat_map.ijk_to_ras)


def test_a_file_gives_what_the_library_gives(tasks, tmp_path, image):
    bundle = write_tiny(tmp_path / "tiny")
    stages = []
    found = ask(
        tasks,
        tmp_path,
        lambda stage, fraction: stages.append(stage),
        image=str(image),
        model=str(bundle),
    )
    same(found, diagnose(image, bundle, device="cpu"))
    assert list(dict.fromkeys(stages)) == ["load", "read", "diagnose", "done", "write"]
    assert found.image is None
    model = tasks.model(str(bundle), "cpu", "classifier")
    assert (
        ask(tasks, tmp_path, image=str(image), model=str(bundle), heat_map=False).heat_map is None
    )
    assert tasks.model(str(bundle), "cpu", "classifier") is model


def test_volumes_bring_what_is_known_of_them(tasks, tmp_path):
    bundle = write_tiny(tmp_path / "tiny")
    volume = Volume(
        np.random.default_rng(0).normal(0, 1, (1, 70, 60)).astype(np.float32),
        np.diag([-0.2, -0.2, 1, 1.0]),
        "node",
        {"window_center": 0.0, "window_width": 6.0},
    )
    lungs = np.zeros((1, 70, 60), np.uint8)
    lungs[:, 20:50, 10:40] = 1
    place, mask = (
        save_volume(volume, tmp_path / "v"),
        save_volume(volume.with_array(lungs), tmp_path / "m"),
    )
    same(
        ask(tasks, tmp_path, volumes=[str(place)], model=str(bundle)),
        diagnose(volume, bundle, device="cpu"),
    )
    same(
        ask(tasks, tmp_path, volumes=[str(place)], model=str(bundle), lungs=str(mask)),
        diagnose(volume, bundle, device="cpu", lungs=lungs[0] > 0),
    )
    assert any(
        "lateral" in n
        for n in ask(
            tasks, tmp_path, volumes=[str(place)], model=str(bundle), view="lateral", modality="CR"
        ).notes
    )
    with pytest.raises(UserError, match="is a CT image"):
        ask(tasks, tmp_path, volumes=[str(place)], model=str(bundle), modality="CT")


@pytest.mark.parametrize("as_volumes", [False, True])
def test_a_view_is_told_of_files_that_state_none(tasks, tmp_path, image, as_volumes):
    """A picture states none; DICOM's own tag goes before what was told."""
    bundle = write_tiny(tmp_path / "tiny")
    pixels = np.random.default_rng(0).integers(0, 4000, (96, 80)).astype(np.uint16)
    stated = write_dicom(tmp_path / "chest.dcm", pixels, ViewPosition="PA")

    def notes(path):
        source = {"volumes": [str(path)]} if as_volumes else {"image": str(path)}
        return " ".join(ask(tasks, tmp_path, model=str(bundle), view="lateral", **source).notes)

    assert "lateral" in notes(image)
    assert "lateral" not in notes(stated)


def test_frames_records_and_windows_travel(tasks, tmp_path):
    frames = write_tiny(
        tmp_path / "f",
        tiny_network(kind="cnn-lstm"),
        id="f",
        input=InputConfig("frames", (), "", ()),
    )
    volumes = [
        Volume(
            np.random.default_rng(n).normal(0, 1, (5, 40, 30)).astype(np.float32),
            np.eye(4),
            f"t{n}",
        )
        for n in range(2)
    ]
    places = [str(save_volume(v, tmp_path / v.name)) for v in volumes]
    same(
        ask(tasks, tmp_path, volumes=places, model=str(frames)),
        diagnose(volumes, frames, device="cpu"),
    )
    fusion = write_tiny(
        tmp_path / "r", tiny_network(kind="fusion", record=RecordConfig(("age",))), id="r"
    )
    pixels = np.random.default_rng(0).integers(0, 4000, (96, 80)).astype(np.uint16)
    path = write_dicom(
        tmp_path / "chest.dcm", pixels, WindowCenter=[2000, 500], WindowWidth=[4000, 300]
    )
    same(
        ask(tasks, tmp_path, image=str(path), model=str(fusion), record={"age": 63}, window=2),
        diagnose(path, fusion, device="cpu", record={"age": 63}, window=2),
    )


def test_a_damaged_result_and_the_wrong_kind_of_model_are_said(tasks, tmp_path, image):
    with pytest.raises(UserError, match="outlines structures"):
        ask(tasks, tmp_path, image=str(image), model="hippocampus-t1")
    with pytest.raises(UserError, match="is a model that diagnoses"):
        place = save_volume(Volume(np.ones((3, 3, 3)), np.eye(4)), tmp_path / "v")
        tasks.segment(
            {
                "volume": str(place),
                "model": str(write_tiny(tmp_path / "tiny")),
                "output": str(tmp_path / "o"),
            },
            quiet,
        )
    folder = save_diagnosis(
        diagnose(image, write_tiny(tmp_path / "t2"), device="cpu"), tmp_path / "d"
    )
    (folder / "diagnosis.json").write_text(json.dumps({"answer": 3}))
    with pytest.raises(UserError, match="missing or damaged"):
        load_diagnosis(folder)


def test_cancel_leaves_nothing(tasks, tmp_path, image):
    def stop(stage, fraction):
        if stage == "diagnose":
            raise Cancelled

    with pytest.raises(Cancelled):
        ask(tasks, tmp_path, stop, image=str(image), model=str(write_tiny(tmp_path / "tiny")))
    assert not list(tmp_path.glob("result*"))


@pytest.mark.slow
def test_a_real_process_diagnoses_says_how_far_it_is_and_lets_go(tmp_path, image, cache):
    import_model(write_tiny(tmp_path / "tiny"))
    with Owner(tmp_path, arguments=MODULE, MEDLLMSEG_CACHE=str(cache)) as owner:
        early = owner.submit(
            "diagnose", image=image, model="tiny", device="cpu", output=tmp_path / "early"
        )
        owner.until(early, lambda event: event.stage == "start", seconds=300)
        owner.cancel(early)
        assert owner.until(early)[-1].kind == "cancelled"
        events = owner.until(
            owner.submit(
                "diagnose", image=image, model="tiny", device="cpu", output=tmp_path / "result"
            ),
            seconds=300,
        )
        assert events[-1].event == "result"
        assert "diagnose" in [e.stage for e in events]
        same(load_diagnosis(events[-1].folder), diagnose(image, "tiny", device="cpu"))
        bad = owner.until(
            owner.submit(
                "diagnose", image=tmp_path / "gone.png", model="tiny", output=tmp_path / "r2"
            ),
            seconds=300,
        )[-1]
        assert bad.kind == "user"
        assert "no file" in bad.message
        assert not os.path.exists(tmp_path / "early")
        began = time.monotonic()
        owner.until(
            owner.submit(
                "diagnose", image=image, model="tiny", device="cpu", output=tmp_path / "r3"
            ),
            seconds=300,
        )
        assert time.monotonic() - began < 10  # warm
