"""A tiny whole-scan bundle, and a scan for it."""

import numpy as np
import pytest

from MedLLMSegLib import Volume, save_volume
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Two bright balls in noise, 15 slices of 4 mm, 1.3 mm in the plane, oblique."""
    k, j, i = np.ogrid[:15, :44, :52]
    image = np.random.default_rng(0).normal(100, 8, (15, 44, 52))
    image += 90 * ((3 * (k - 7)) ** 2 + (j - 15) ** 2 + (i - 20) ** 2 < 100)
    image += 160 * ((3 * (k - 6)) ** 2 + (j - 30) ** 2 + (i - 36) ** 2 < 70)
    path = tmp_path_factory.mktemp("scan") / "two balls.nii.gz"
    return save_volume(Volume(image.astype(np.int16), oblique(image.shape, (1.3, 1.3, 4.0))), path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
