"""An image, and the bundle of a tiny classifier."""

import numpy as np
import pytest
from PIL import Image

from Testing.helpers.tiny_classifier import write_tiny


@pytest.fixture
def image(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (90, 70)).astype(np.uint8)).save(tmp_path / "x.png")
    return tmp_path / "x.png"


@pytest.fixture
def bundle(tmp_path):
    return write_tiny(tmp_path / "tiny")
