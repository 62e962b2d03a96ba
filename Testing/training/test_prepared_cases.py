"""Prepared cases on disk: one process writes them, the others read the very same."""

import numpy as np
import pytest

from MedLLMSegLib import save_volume
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import read_cases
from MedLLMSegLib.segmentation.prepare import Preparation
from MedLLMSegLib.training.segmenter.samples.prepared_cases import CaseCache, prepare_set

HOW = Preparation((1.0, 1.2, 1.0))


@pytest.fixture
def cases(tmp_path):
    for n in range(2):
        image = np.random.default_rng(n).normal(100, 5, (8, 9, 10)).astype(np.float32)
        labels = np.zeros((8, 9, 10), np.uint8)
        labels[2:5, 1:4, 3:8] = 1
        save_volume(Volume(image, np.eye(4)), tmp_path / f"data/imagesTr/c{n}.nii.gz")
        save_volume(Volume(labels, np.eye(4)), tmp_path / f"data/labelsTr/c{n}.nii.gz")
    return read_cases(tmp_path / "data", {1: "box"})


def test_what_one_process_wrote_the_others_read(cases, tmp_path, monkeypatch):
    plain = prepare_set(cases.cases, cases, HOW)
    first = prepare_set(cases.cases, cases, HOW, CaseCache(tmp_path / "prepared"))
    monkeypatch.setattr(
        "MedLLMSegLib.training.segmenter.samples.prepared_cases.prepare_case", None
    )  # the others do not read a scan again
    other = prepare_set(cases.cases, cases, HOW, CaseCache(tmp_path / "prepared", writes=False))
    for a, b, c in zip(plain, first, other, strict=True):
        assert a["id"] == b["id"] == c["id"]
        assert isinstance(c["image"], np.memmap)
        for key in ("image", "label"):
            assert np.array_equal(a[key], b[key])
            assert np.array_equal(a[key], c[key])
        assert all(
            np.array_equal(x, y) and np.array_equal(x, z)
            for x, y, z in zip(a["voxels"], b["voxels"], c["voxels"], strict=True)
        )
