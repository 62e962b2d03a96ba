"""Fixtures of the tests of sequence_job."""

import importlib.util
import tempfile

import numpy as np
import pytest

from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from Testing.slicer_bridge.stand_in import (
    GRID,
    OBLIQUE,
    StandInClient,
)

if importlib.util.find_spec("slicer_core"):  # without it the tests are skipped
    import slicer

    from Testing.helpers.sequence_jobs import TIMES, by_brightness


@pytest.fixture
def client():
    return StandInClient(by_brightness)


@pytest.fixture
def logic(client, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    logic = SegmentationLogic(makeClient=lambda: client)
    yield logic
    logic.close()


@pytest.fixture
def add_sequence(scene):
    """add_sequence(brightest values) -> vtkMRMLSequenceNode of volumes"""

    def add(brightest=(100, 200, 300)):
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
        sequence.SetIndexName("time")
        sequence.SetIndexUnit("s")
        for value, high in zip(TIMES, brightest, strict=True):
            volume = slicer.vtkMRMLScalarVolumeNode()
            array = np.zeros(GRID, np.int16)
            array[0, 0, 0] = high
            slicer.util.updateVolumeFromArray(volume, array)
            volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(OBLIQUE))
            sequence.SetDataNodeAtValue(volume, value)
        return sequence

    return add


@pytest.fixture
def shown(scene, add_sequence):
    """(sequence, its browser)"""
    sequence = add_sequence()
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "cine browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return sequence, browser
