"""Fixtures of the tests of diagnosis_job."""

import importlib.util
import tempfile

import numpy as np
import pytest

from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from Testing.helpers.tiny_classifier import tiny_network, volumes, write_tiny

if importlib.util.find_spec("slicer_core"):  # without it the tests are skipped
    from Testing.helpers.diagnosis_jobs import (
        LibraryClient,
    )


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Folders of tiny classifiers: of radiographs, of slices of a CT, of frames."""
    place = tmp_path_factory.mktemp("bundles")
    frames = InputConfig("frames", ("MR",), "", ())
    return {
        "flat": write_tiny(place / "tiny"),
        "slices": write_tiny(
            place / "slices", tiny_network(kind="cnn-lstm"), id="slices", input=volumes()
        ),
        "frames": write_tiny(
            place / "frames",
            tiny_network(kind="cnn-lstm", classes=("a", "b", "c")),
            id="frames",
            input=frames,
            threshold=None,
        ),
    }


@pytest.fixture
def client():
    return LibraryClient()


@pytest.fixture
def logic(client, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    logic = SegmentationLogic(makeClient=lambda: client)
    yield logic
    logic.close()
    assert not list((tmp_path / "temporary").iterdir())


@pytest.fixture
def pixels():
    """Of a radiograph, 12 bit, brighter on one side: an image that was turned or mirrored is
    another one.
    """
    noise = np.random.default_rng(0).normal(0, 150, (90, 70))
    return np.clip(1200 + 20 * np.arange(70) + 8 * np.arange(90)[:, None] + noise, 0, 4095).astype(
        np.uint16
    )


@pytest.fixture
def flat(add_volume, pixels):
    return add_volume(pixels[None], np.diag([-0.2, -0.2, 1, 1.0]), "chest")
