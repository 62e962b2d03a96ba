"""Fixtures of the tests of training_job."""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import load_volume
from MedLLMSegLib.data import read_cases, read_label_map
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from Testing.registry.test_user_models import write_bundle
from Testing.slicer_bridge.stand_in import StandInClient

if importlib.util.find_spec("slicer_core"):  # without it the tests are skipped
    import slicer

    from Testing.helpers.training_jobs import HISTORY, MATRIX, NAMES, SHAPE, two_masks


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "cache"


@pytest.fixture
def client(cache):
    def bundle(fields):
        client.cases = read_cases(fields["request"]["source"])
        client.labels = {
            case.id: (
                load_volume(case.image),
                read_label_map(case, client.cases, load_volume(case.image)),
            )
            for case in client.cases.cases
        }
        return write_bundle(
            Path(fields["output"]) / "bundle",
            fields["request"]["name"],
            title=fields["request"]["title"],
        )

    client = StandInClient(bundle=bundle, history=HISTORY)
    return client


@pytest.fixture
def logic(client, tmp_path):
    logic = SegmentationLogic(makeClient=lambda: client)
    yield logic
    logic.close()
    assert not list(tmp_path.glob("MedLLMSeg-*"))
    assert not list((tmp_path / "cache" / "trainings").glob("*/cases")) or list(
        (tmp_path / "cache" / "trainings").glob("*/run")
    )


@pytest.fixture
def add_pair(scene, add_volume):
    scene.GetSubjectHierarchyNode()  # made by the first who asks; in Slicer it is always there

    def add(n, names=NAMES, drawn=None):
        volume = add_volume(
            np.random.default_rng(n).integers(0, 400, SHAPE).astype(np.int16), MATRIX, f"Head {n}"
        )
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"Seg {n}")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for name, mask in zip(names, two_masks(n) if drawn is None else drawn, strict=False):
            segment = node.GetSegmentation().AddEmptySegment("", name)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
        return volume, node

    return add
