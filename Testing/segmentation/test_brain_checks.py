"""No head and few slices are said in words; other models are left alone."""

from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.segmentation.brain_checks import checked_head

BRAIN = brain_structures()


def scan(shape=(20, 60, 60), spacing_mm=3.0):
    return Volume(np.zeros(shape, np.float32), np.diag([spacing_mm] * 3 + [1.0]), "belly")


def result(volume, brain_ml, label=2, structures=BRAIN):
    labels = np.zeros(volume.array.shape, np.uint8)
    labels.reshape(-1)[: round(brain_ml / volume.grid.voxel_ml)] = label
    return Segmentation(volume.with_array(labels), structures, notes=("before",))


def test_a_scan_without_a_brain_is_refused():
    volume = scan()
    with pytest.raises(UserError, match=r'No brain was found in "belly" \(22 mL'):
        checked_head(volume, result(volume, 22))
    with pytest.raises(UserError, match="No brain"):
        checked_head(volume, result(volume, 500, label=24))  # fluid is found beside anything
    found = result(volume, 300)
    assert checked_head(volume, found).notes == ("before",)


def test_a_crop_within_the_brain_is_none_without_one():
    volume = scan((12, 12, 12))  # 47 mL
    assert checked_head(volume, result(volume, 40)).notes == ("before",)
    with pytest.raises(UserError, match="No brain"):
        checked_head(volume, result(volume, 5))


@pytest.mark.parametrize("axis", range(3))
def test_fewer_than_ten_slices_are_told_of(axis):
    shape = [60, 60, 60]
    for slices, words in ((9, "only 9 slices"), (1, "only one slice"), (10, None)):
        shape[axis] = slices
        volume = scan(shape, 6.0)
        notes = checked_head(volume, result(volume, 150)).notes
        assert len(notes) == (2 if words else 1)
        assert words is None or words in notes[-1]


def test_another_model_is_left_alone():
    volume = scan((5, 60, 60))
    other = result(volume, 0, structures=hippocampus_structures(True))
    assert checked_head(volume, other) is other


def test_what_the_network_is_unsure_of_is_named():
    volume = scan()
    found = replace(result(volume, 300), confidence={2: 0.9, 17: 0.49, 53: float("nan"), 24: 0.5})
    (_before, note) = checked_head(volume, found).notes
    assert "Left hippocampus. Look" in note
    assert "Right" not in note and "CSF" not in note


def test_the_expected_dice_decides_where_there_is_one():
    volume = scan()
    found = replace(
        result(volume, 300), confidence={2: 0.4, 17: 0.9}, expected_dice={2: 0.61, 17: 0.59}
    )
    (_before, note) = checked_head(volume, found).notes
    assert "Dice below 0.6 of these: Left hippocampus. Look" in note
