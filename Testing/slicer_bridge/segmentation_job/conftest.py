"""Fixtures of the tests of segmentation_job."""

import tempfile

import numpy as np
import pytest

from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from Testing.slicer_bridge.stand_in import (
    GRID,
    OBLIQUE,
    StandInClient,
)


@pytest.fixture
def scan(add_volume):
    return add_volume(
        np.random.default_rng(0).integers(0, 400, GRID).astype(np.int16), OBLIQUE, "MRHead"
    )


@pytest.fixture
def client():
    return StandInClient()


@pytest.fixture
def logic(client, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    logic = SegmentationLogic(makeClient=lambda: client)
    yield logic
    logic.close()
    assert not list(tmp_path.glob("MedLLMSeg-*")), "temporary folders were left behind"
