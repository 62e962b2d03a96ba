"""What is no scan is refused in one sentence."""

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume, check_scan

GOOD = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def with_value(value):
    array = GOOD.astype(np.float32)
    array[1, 1, 1] = value
    return array


BAD = {
    "empty": (np.zeros((0, 4, 5)), np.eye(4), "no voxels"),
    "2D": (np.ones((1, 4, 5)), np.eye(4), "flat image"),
    "4D": (np.ones((6, 3, 4, 5)), np.eye(4), "series of 6 images"),
    "constant": (np.full((3, 4, 5), 7), np.eye(4), "same value (7)"),
    "NaN": (with_value(np.nan), np.eye(4), "1 voxels that are NaN"),
    "infinite": (with_value(np.inf), np.eye(4), "infinite"),
    "complex": (GOOD.astype(complex), np.eye(4), "complex"),
    "zero spacing": (GOOD, np.diag([1.0, 0, 1, 1]), "voxel size of 1 x 0 x 1 mm"),
    "flat axes": (
        GOOD,
        np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        "one plane",
    ),
    "NaN matrix": (GOOD, np.full((4, 4), np.nan), "no valid position"),
}


def test_a_scan_passes():
    check_scan(Volume(GOOD, np.eye(4)))


@pytest.mark.parametrize("name", BAD)
def test_refused(name):
    array, matrix, words = BAD[name]
    with pytest.raises(UserError) as caught:
        check_scan(Volume(array, matrix, "knee"))
    message = str(caught.value)
    assert words in message
    assert '"knee"' in message
    assert message.count(". ") == 0
    assert message.endswith(".")
