"""No head and few slices are said in words; other models are left alone."""

from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.segmentation import brain_checks
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
    (_before, note) = brain_checks.with_doubts(found).notes
    assert "Left hippocampus. Look" in note
    assert "Right" not in note and "CSF" not in note


def test_the_expected_dice_decides_where_there_is_one():
    volume = scan()
    found = replace(
        result(volume, 300), confidence={2: 0.4, 17: 0.9}, expected_dice={2: 0.61, 17: 0.59}
    )
    (_before, note) = brain_checks.with_doubts(found).notes
    assert "Dice below 0.6 of these: Left hippocampus. Look" in note
    lit = replace(found, quality=ScanQuality(structures={17: Quality()}))  # usual for it: green
    assert brain_checks.with_doubts(lit).notes[-1].endswith("of these: Left hippocampus.")


def head(place_of, spacing_mm=2.0, size=(120, 120, 110)):
    """A cube of 1 mL of each structure of `PLACES_MM`, and enough white matter for a brain.

    place_of: (structure's place in the template) -> where it lies, RAS mm.
    """
    matrix = np.diag([spacing_mm] * 3 + [1.0])
    matrix[:3, 3] = -110.0
    volume = Volume(np.zeros(size, np.float32), matrix, "scan")
    labels = np.zeros(size, np.uint8)
    labels[:4, :, :] = 2
    for structure in BRAIN:
        place = brain_checks.PLACES_MM.get(structure.sideless_key)
        if place is not None:
            x, y, z = np.multiply(place, (-1, 1, 1) if structure.side == "right" else 1)
            i, j, k = np.round((place_of(np.array((x, y, z))) + 110) / spacing_mm).astype(int)
            labels[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] = structure.label
    return volume, Segmentation(volume.with_array(labels), BRAIN)


def turned(point):
    angle = np.radians(40)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    return turn @ point + (10, -5, 20)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.3])
def test_a_head_may_be_small_large_turned_and_moved(scale):
    volume, found = head(lambda point: turned(scale * point))
    assert checked_head(volume, found).labels is found.labels
    assert brain_checks.out_of_place(found) < 0.45


def test_parts_that_do_not_lie_as_in_a_head_are_no_brain():
    random = np.random.default_rng(0)
    volume, found = head(lambda point: random.uniform(-80, 80, 3))
    with pytest.raises(UserError, match="does not lie as in a head"):
        checked_head(volume, found)


def test_a_few_parts_tell_nothing():
    random = np.random.default_rng(0)
    volume, found = head(lambda point: random.uniform(-80, 80, 3))
    kept = np.isin(found.labels.array, (2, 10, 49, 17))
    few = replace(found, labels=found.labels.with_array(found.labels.array * kept))
    assert brain_checks.out_of_place(few) == 0
    assert checked_head(volume, few).labels is few.labels


def test_a_scan_with_the_grey_values_of_a_ct_is_told_of():
    volume, found = head(lambda point: point)
    assert not checked_head(volume, found).notes
    volume.array[0, 0, 0] = -1000
    assert "as in CT" in checked_head(volume, found).notes[0]


def test_what_the_model_is_unsure_of_altogether_is_no_brain():
    volume, found = head(lambda point: point)
    labels = [s.label for s in BRAIN]
    unsure = replace(found, confidence=dict.fromkeys(labels, 0.6) | {2: 0.95, 41: float("nan")})
    with pytest.raises(UserError, match="unsure of everything"):
        checked_head(volume, unsure)
    sure = replace(found, confidence=dict.fromkeys(labels, 0.8) | {2: 0.3})
    assert checked_head(volume, sure).labels is sure.labels
    few = replace(found, confidence=dict.fromkeys(labels[:4], 0.6))
    assert checked_head(volume, few).labels is few.labels
