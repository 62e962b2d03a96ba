"""Fixtures of the tests of scene_nodes."""

import importlib.util

import numpy as np
import pytest

if importlib.util.find_spec("slicer_core"):  # without it the tests are skipped
    from Testing.helpers.scene_nodes import (
        GRIDS,
        SHAPE,
    )


@pytest.fixture
def scan(add_volume):
    return add_volume(
        np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), GRIDS["oblique, anisotropic"]
    )
