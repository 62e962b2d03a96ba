"""The types of a segmentation: structures go through JSON, and results count their voxels."""

import json

import numpy as np
import pytest

from MedLLMSegLib.anatomy.structures import (
    cardiac_structures,
    hippocampus_structures,
    uncoded_structures,
)
from MedLLMSegLib.core.segmentation import Segmentation, Structure, comparable_name
from MedLLMSegLib.core.volume import Volume


def test_structures_round_trip_through_json():
    for s in (
        *cardiac_structures(),
        *hippocampus_structures(True),
        *uncoded_structures({7: "tumour"}),
    ):
        assert Structure.from_dict(json.loads(json.dumps(s.to_dict()))) == s


def test_a_side_is_stated_and_not_guessed_from_a_key():
    anterior = hippocampus_structures(True)[2]
    assert (anterior.side, anterior.sideless_key) == ("right", "anterior")
    heart = cardiac_structures()[0]  # the right ventricle is not the right one of two
    assert (heart.side, heart.sideless_key) == ("", "right_ventricle")
    assert "group" not in heart.to_dict()


@pytest.mark.parametrize(
    "change", ({"label": 0}, {"label": 256}, {"color": [1, 2]}, {"color": [0, 0, 300]})
)
def test_damaged_descriptions_are_refused(change):
    with pytest.raises(ValueError):
        Structure.from_dict({**cardiac_structures()[0].to_dict(), **change})


def test_a_result_lists_and_measures_the_structures_that_it_holds():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 1, 1:4] = 2
    volume = Volume(labels, np.diag([2.0, 2.0, 5.0, 1.0]))
    result = Segmentation(volume, cardiac_structures())
    assert [s.key for s in result.found] == ["myocardium"]
    assert result.volumes_ml == {
        "right_ventricle": 0,
        "myocardium": pytest.approx(6 * 20 / 1000),
        "left_ventricle": 0,
    }


def test_names_are_compared_without_case_spaces_and_signs():
    assert comparable_name("Left Ventricle (cavity)") == comparable_name("left_ventricle-CAVITY")
    assert comparable_name("tumour 1") != comparable_name("tumour 2")
