"""A patient's record: its numbers, categories and gaps."""

import numpy as np
import pytest

from MedLLMSegLib import UserError, Volume, diagnose
from MedLLMSegLib.diagnosis.inputs.record_input import record_fields
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.registry.classifier_config import RecordConfig
from Testing.helpers.tiny_classifier import tiny_network, write_tiny

RECORD = RecordConfig(
    ("age", "dose"), {"sex": ("F", "M"), "side": ("left", "right")}, (50.0, 1.0), (20.0, 2.0)
)


def test_a_record_becomes_numbers_and_categories_with_gaps():
    fields, notes = record_fields({"age": " 63 ", "sex": "M", "dose": ""}, RECORD, "m")
    assert fields["numbers"][0, 0] == 63
    assert fields["numbers"][0, 1].isnan()
    assert fields["categories"].tolist() == [[1, -1]]
    assert notes == ("The record does not state dose, side, so the answer is less sure.",)
    assert record_fields(None, None, "m") == ({}, ())
    assert len(record_fields(None, RECORD, "m")[1]) == 1
    assert record_fields({"age": 63, "dose": 1.5, "sex": "F", "side": "left"}, RECORD, "m")[1] == ()


@pytest.mark.parametrize(
    "record, words",
    (
        ({"weight": 70}, '"weight", and the model "m" knows age, dose, sex, side'),
        ({"age": "old"}, 'age is "old", and a number'),
        ({"age": "inf"}, "a number is needed"),
        ({"sex": "X"}, "one of F, M is needed"),
    ),
)
def test_a_record_that_does_not_fit_is_refused(record, words):
    with pytest.raises(UserError, match=words) as caught:
        record_fields(record, RECORD, "m")
    assert ". " not in str(caught.value)


def test_a_model_of_images_and_records(tmp_path):
    model = load_classifier(
        write_tiny(tmp_path / "r", tiny_network(kind="fusion", record=RECORD)), "cpu"
    )
    image = Volume(
        np.random.default_rng(0).normal(0, 1, (1, 70, 60)).astype(np.float32),
        np.eye(4),
        "x",
        {"window_center": 0.0, "window_width": 6.0},
    )
    full = diagnose(image, model, record={"age": 63, "dose": 2, "sex": "F", "side": "left"})
    other = diagnose(image, model, record={"age": 20, "dose": 2, "sex": "F", "side": "left"})
    none = diagnose(image, model)
    assert len({round(each.probabilities["pneumonia"], 7) for each in (full, other, none)}) == 3
    assert not any("state" in n for n in full.notes)
    assert any("does not state age, dose, sex, side" in n for n in none.notes)
    assert full.heat_map.array.shape == (1, 70, 60)
