"""Label maps as the generator needs them: odd numbers, sides, orientation."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.anatomy.brain import BRAIN_STRUCTURES
from MedLLMSegLib.training.synthesis.head_maps import (
    LEFT,
    NO_SIDE,
    RIGHT,
    head_map,
    learnt_numbers,
    load_head_map,
)
from Testing.training.synthesis.made_up_head import labels

PLACE = {s.key: place for place, s in enumerate(BRAIN_STRUCTURES, start=1)}
SHARED = Path(__file__).parents[4] / "shared/data/brain_labelmaps"


def test_structures_and_sides_are_apart_and_every_pair_has_both():
    head = head_map(labels())
    for left, right, key in ((2, 41, "cerebral_white_matter"), (17, 53, "hippocampus")):
        own = head.structures == PLACE[key]
        assert own[labels() == left].all()
        assert own[labels() == right].all()
        assert (head.sides[labels() == left] == LEFT).all()
        assert (head.sides[labels() == right] == RIGHT).all()
    for number in (16, 24, 511, 85, 0):
        assert (head.sides[labels() == number] == NO_SIDE).all()
    assert (head.structures[labels() == 511] == 0).all()


def test_left_and_right_are_painted_alike_and_lesions_keep_a_contrast_of_their_own():
    head = head_map(labels())
    tissue = {n: set(head.tissues[labels() == n].tolist()) for n in (2, 41, 17, 53, 25, 57)}
    assert tissue[2] == tissue[41]
    assert tissue[17] == tissue[53]
    assert tissue[25] == tissue[57]
    assert not tissue[25] & tissue[2]
    assert head.numbers[0] == 0


def test_odd_numbers_become_the_structure_that_they_lie_in():
    learnt = learnt_numbers(labels())
    assert (learnt[labels() == 25] == 2).all()
    assert (learnt[labels() == 57] == 41).all()
    assert (learnt[labels() == 85] == 0).all()
    changed = labels()
    changed[22:24, 24:26, 20:22] = 136  # in the left hippocampus
    changed[22:24, 24:26, 42:44] = 137
    changed[30:32, 30:32, 30:32] = 72
    learnt = learnt_numbers(changed)
    assert (learnt[changed == 136] == 17).all()
    assert (learnt[changed == 137] == 53).all()
    assert (learnt[changed == 72] == 24).all()


def test_a_number_that_no_structure_stands_for_is_refused():
    changed = labels()
    changed[30, 30, 30] = 99
    with pytest.raises(ValueError, match="99"):
        head_map(changed)


@pytest.mark.parametrize("orientation", ["RAS", "LIA", "PSR", "LPS"])
def test_any_orientation_on_disk_gives_the_same_head(tmp_path, orientation):
    image = sitk.GetImageFromArray(labels())
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # RAS, in ITK's LPS world
    image = sitk.DICOMOrient(image, orientation)
    sitk.WriteImage(image, str(tmp_path / "head.nii.gz"))
    head = load_head_map(tmp_path / "head.nii.gz")
    expected = head_map(labels()[4:60, 4:68, 4:60])
    assert np.array_equal(head.structures, expected.structures)
    assert np.array_equal(head.sides, expected.sides)


@pytest.mark.slow
@pytest.mark.skipif(
    not SHARED.exists(), reason=f"NOT TESTED on real label maps: {SHARED} is missing"
)
def test_a_real_map_has_left_on_the_left_and_every_structure():
    head = load_head_map(SHARED / "training_seg_01.nii.gz")
    assert set(np.unique(head.structures)) == set(range(len(BRAIN_STRUCTURES) + 1))
    left, right = (np.argwhere(head.sides == side).mean(0) for side in (LEFT, RIGHT))
    assert left[2] < right[2] - 30
