"""Which connected parts of a label map are kept."""

import numpy as np
import pytest

from MedLLMSegLib.registry.segmenter_settings import LARGEST_PART_RULES
from MedLLMSegLib.segmentation.clean import keep_largest


def test_which_connected_parts_are_kept():
    labels = np.zeros((4, 12, 40), np.uint8)
    labels[:, 2:8, 2:6], labels[:, 2:8, 6:9] = 1, 2  # an organ of two structures that touch
    labels[:, 2:10, 20:30] = 2  # far from it a larger thing that is taken for one of them
    labels[0, 10, 2], labels[1, 8, 8] = (
        1,
        1,
    )  # strays of the other: one alone, one on the organ's corner
    organ = np.zeros_like(labels)
    organ[:, :9, :9] = labels[:, :9, :9]
    smaller = np.where(np.arange(40) >= 25, 0, labels)
    kept = {how: keep_largest(smaller, how) for how in LARGEST_PART_RULES}
    # its own is gone
    assert (kept["each"][:, 2:10, 20:25] == 2).all()
    assert not (kept["each"][:, :, 6:9] == 2).any()
    assert np.array_equal(kept["together"], organ)
    organ[1, 8, 8] = 0
    assert np.array_equal(kept["both"], organ)
    for how in LARGEST_PART_RULES:
        assert not keep_largest(np.zeros_like(labels), how).any()


@pytest.mark.parametrize("rule", LARGEST_PART_RULES)
def test_where_nothing_was_found_nothing_stays(rule):
    assert keep_largest(np.zeros((0, 4, 4), np.uint8), rule).shape == (0, 4, 4)
