"""A bundle on disk becomes a model, or one sentence says that it is damaged."""

import pytest

from MedLLMSegLib import UserError, load_model
from MedLLMSegLib.registry.segmenter_settings import largest_part_rule
from Testing.helpers.heart_bundle import ABOUT, heart_bundle

DAMAGED = {
    "no labels": {"labels": None},
    "too few labels": {"labels": ABOUT["labels"][:2]},
    "one value twice": {"labels": [ABOUT["labels"][0], *ABOUT["labels"][:2]]},
    "a label of 0": {"labels": [{**ABOUT["labels"][0], "label": 0}, *ABOUT["labels"][1:]]},
    "no spacing": {"preprocessing": {"axes": "scan"}},
    "an unknown organ": {"anatomy": "spleen"},
    "a temperature of 0": {"calibration": {"temperature": 0}},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_description_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"description of the model bundle .* is damaged"):
        load_model(heart_bundle(tmp_path, **DAMAGED[name]), "cpu")


def test_an_unknown_part_to_keep_is_a_damaged_bundle():
    with pytest.raises(ValueError, match="'largest'"):
        largest_part_rule({"keep_largest": "largest"})
