"""Label maps must hold whole numbers and lie on their image's grid."""

import numpy as np
import pytest

from MedLLMSegLib import UserError, load_volume
from MedLLMSegLib.data import read_cases, read_label_map
from MedLLMSegLib.data.label_checks import whole_numbers
from Testing.helpers.labelled_files import GRID, labels_of, rewrite, shifted


def test_what_a_files_scaling_leaves_of_a_whole_number_is_one(tmp_path):
    assert whole_numbers(np.array([0.0, 1.0000153, 1.99999]), tmp_path).tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="not whole numbers"):
        whole_numbers(np.array([0.0, 1.01]), tmp_path)


@pytest.mark.parametrize(
    "labels, matrix, sentence",
    [
        (labels_of(), shifted(0.4), "is shifted by up to 0.4 mm from its image"),
        (labels_of()[1:], GRID, "8 x 7 x 5 voxels and its image 8 x 7 x 6"),
        (labels_of() + np.float32(0.25), GRID, "not whole numbers"),
        (
            labels_of() * 7,
            GRID,
            '"hippocampus_003" has the value 7, which no structure has .*1 front, 2 back',
        ),
    ],
)
def test_a_label_map_that_does_not_fit_its_image(decathlon, labels, matrix, sentence):
    rewrite(labels, matrix)(decathlon)
    found = read_cases(decathlon, {1: "front", 2: "back"})
    with pytest.raises(UserError, match=sentence):
        read_label_map(found.cases[2], found, load_volume(found.cases[2].image))
    good = read_label_map(found.cases[0], found, load_volume(found.cases[0].image))
    assert np.array_equal(good, labels_of())
    assert good.dtype == np.uint8
