"""What of a scan lies beyond a model's training is said in one sentence, from the bundle's data."""

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import list_models, measured_model, read_metadata
from MedLLMSegLib.registry.trained_range import FIELD, TrainedRange, range_notes

HEART = TrainedRange((0.7, 2.2), (5.0, 12.0), (250.0, 720.0))
SIZE = (100.0, 360.0, 360.0)


def test_within_the_training_nothing_is_said():
    for spacing in ((10, 1.5, 1.5), (1.5, 12.05, 1.5), (5, 0.7, 2.2)):
        assert HEART.beyond(spacing, SIZE) == ()
    assert range_notes(()) == ()


@pytest.mark.parametrize(
    "spacing, size, words",
    [
        ((10, 3, 3), SIZE, "pixels of 3 mm, where the model was trained on 0.7 to 2.2 mm"),
        ((10, 0.3, 1.5), SIZE, "pixels of 0.3 mm"),
        ((1.5, 14, 1.5), SIZE, "slices every 14 mm, where the model was trained on 5 to 12 mm"),
        ((1, 1, 1), SIZE, "slices every 1 mm"),
        ((10, 1.5, 1.5), (50, 60, 90.0), "a field of view of 90 mm"),
        ((10, 1.5, 1.5), (50, 60, 1100.0), "view of 1100 mm, where the model was trained on 250"),
    ],
)
def test_what_lies_beyond_is_named_with_what_was_trained_on(spacing, size, words):
    (found,) = HEART.beyond(spacing, size)
    assert words in found
    (note,) = range_notes((found,))
    assert note.startswith("The scan has ") and note.endswith(": check every outline.")


def test_all_that_lies_beyond_is_one_sentence():
    (note,) = range_notes(HEART.beyond((3, 3, 20), (60, 60, 60)))
    assert note.count(".") == note.count("0.7") + note.count("2.2") + 1
    for words in ("pixels of 3 mm", " mm, and slices every 20 mm", " mm, and a field of view of"):
        assert words in note


def test_cases_of_one_spacing_are_named_by_it():
    alike = TrainedRange.of_cases([(1, 1, 1)] * 2, [(9, 9, 9)] * 2, 0.0)
    assert alike.beyond((1, 1, 2), (9, 9, 9)) == (
        "slices every 2 mm, where the model was trained on 1 mm",
    )


def test_no_lower_end_and_no_range_say_nothing_of_fine_scans():
    fine = TrainedRange(slice_mm=(0.0, 8.0))
    assert fine.beyond((0.1, 0.1, 0.1), (20, 20, 20)) == ()
    assert "trained on at most 8 mm" in fine.beyond((0.1, 0.1, 9), (20, 20, 20))[0]


def test_cases_span_the_range_that_augmentation_widens():
    found = TrainedRange.of_cases(
        [(8, 1, 1.2), (1.5, 10, 2)], [(10, 200, 200), (150, 9, 100)], 0.25
    )
    assert found.pixel_mm == (0.8, 2.5)
    assert found.slice_mm == (6.4, 12.5)
    assert found.view_mm == (180.0, 300.0)


def test_a_bundle_gives_back_what_it_holds():
    assert TrainedRange.of_bundle({FIELD: HEART.to_dict()}) == HEART
    assert TrainedRange.of_bundle({}) is None
    assert TrainedRange.of_bundle({FIELD: {}}) == TrainedRange()
    assert HEART.digest != TrainedRange((0.7, 2.3), (5.0, 12.0)).digest


@pytest.mark.parametrize(
    "damage", [[1], {"pixel_mm": 3}, {"pixel_mm": [2, 1]}, {"depth_mm": [1, 2]}, {"pixel_mm": "ab"}]
)
def test_a_damaged_field_is_refused_in_a_sentence(damage):
    with pytest.raises(UserError, match="trained_range"):
        TrainedRange.of_bundle({FIELD: damage})


def test_every_shipped_segmenter_states_its_range_and_keeps_its_hash():
    for entry in list_models("segmenter"):
        metadata = read_metadata(entry.folder)
        assert TrainedRange.of_bundle(metadata) is not None
        without = {name: value for name, value in metadata.items() if name != FIELD}
        assert measured_model(without).sha256 == measured_model(metadata).sha256
