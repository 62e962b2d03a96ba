"""The three numberings of the brain: each number is the right structure on the right side."""

import json
from pathlib import Path

import pytest

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.numberings import (
    FREESURFER,
    MUSE,
    NEUROMORPHOMETRICS,
    NUMBERINGS,
    numbering_of_names,
)

NAMES_FILE = Path(__file__).resolve().parents[3] / "shared/data/oasis_brains/labels.json"
# Transcript: Neuromorphometrics' names of the numbers that are one structure of ours (and MUSE's)
NAMES = {
    4: "3rd Ventricle", 11: "4th Ventricle", 23: "Right Accumbens Area",
    30: "Left Accumbens Area", 31: "Right Amygdala", 32: "Left Amygdala", 35: "Brain Stem",
    36: "Right Caudate", 37: "Left Caudate", 38: "Right Cerebellum Exterior",
    39: "Left Cerebellum Exterior", 40: "Right Cerebellum White Matter",
    41: "Left Cerebellum White Matter", 44: "Right Cerebral White Matter",
    45: "Left Cerebral White Matter", 46: "CSF", 47: "Right Hippocampus", 48: "Left Hippocampus",
    49: "Right Inf Lat Vent", 50: "Left Inf Lat Vent", 51: "Right Lateral Ventricle",
    52: "Left Lateral Ventricle", 55: "Right Pallidum", 56: "Left Pallidum", 57: "Right Putamen",
    58: "Left Putamen", 59: "Right Thalamus Proper", 60: "Left Thalamus Proper",
    61: "Right Ventral DC", 62: "Left Ventral DC", 100: "Right ACgG anterior cingulate gyrus",
    207: "Left TTG transverse temporal gyrus",
}  # fmt: skip
OURS = {  # the words of ours that differ
    "3rd ventricle": "third ventricle", "4th ventricle": "fourth ventricle",
    "accumbens area": "accumbens", "cerebellum exterior": "cerebellar cortex",
    "cerebellum white matter": "cerebellar white matter",
    "inf lat vent": "inferior lateral ventricle", "thalamus proper": "thalamus",
    "ventral dc": "ventral diencephalon",
    "acgg anterior cingulate gyrus": "cerebral cortex",
    "ttg transverse temporal gyrus": "cerebral cortex",
}  # fmt: skip


def our_name(name: str) -> str:
    side, _, rest = name.lower().partition(" ")
    if side not in ("left", "right"):
        return OURS.get(name.lower(), name.lower())
    return f"{side} {OURS.get(rest, rest)}"


@pytest.mark.parametrize("numbering", [NEUROMORPHOMETRICS, MUSE])
def test_every_number_is_the_structure_of_its_name(numbering):
    ours = {s.label: s.name.lower() for s in brain_structures()}
    for number, name in NAMES.items():
        if numbering is MUSE and number in (44, 45):
            continue  # it has the white matter in lobes
        assert ours[numbering.structures[number]] == our_name(name)
    assert set(numbering.structures.values()) == set(ours)  # nothing of ours is left out


def test_freesurfers_own_numbers_stay():
    assert all(FREESURFER.structures[s.label] == s.label for s in brain_structures())
    assert FREESURFER.knows(507)
    assert not FREESURFER.knows(499)


@pytest.mark.parametrize("numbering", NUMBERINGS.values())
def test_no_number_stands_for_two_things(numbering):
    kinds = [set(numbering.structures), set(numbering.nearest), set(numbering.background)]
    assert sum(map(len, kinds)) == len(set().union(*kinds))
    assert 0 not in set().union(*kinds)


def test_muse_has_white_matter_in_lobes_and_a_corpus_callosum():
    assert (MUSE.structures[81], MUSE.structures[88], MUSE.structures[94]) == (41, 2, 2)
    assert MUSE.nearest[95] == (2, 41)
    assert not MUSE.knows(44)


@pytest.mark.parametrize(
    "names, found",
    [
        ({17: "Left-Hippocampus", 53: "Right-Hippocampus"}, FREESURFER),
        ({48: "Left Hippocampus", 47: "Right Hippocampus"}, NEUROMORPHOMETRICS),
        (
            {48: "Left Hippocampus", 47: "right_hippocampus", 81: "frontal lobe WM right"},
            MUSE,
        ),
        ({1: "Anterior", 2: "Posterior"}, None),
        ({47: "Left Hippocampus", 48: "Right Hippocampus"}, None),
    ],
)
def test_a_list_of_names_says_its_numbering(names, found):
    assert numbering_of_names(names) is found


def test_the_oasis_brains_names_are_all_known():
    if not NAMES_FILE.is_file():
        pytest.skip(f"{NAMES_FILE} is missing: NO REAL LIST OF NAMES WAS TESTED")
    names = {int(number): name for number, name in json.loads(NAMES_FILE.read_text()).items()}
    assert numbering_of_names(names) is NEUROMORPHOMETRICS
    assert [n for n in names if not NEUROMORPHOMETRICS.knows(n)] == []
    ours = {s.label: s for s in brain_structures()}
    for number, name in names.items():
        side = name.split()[0].lower()
        if number in NEUROMORPHOMETRICS.structures and side in ("left", "right"):
            assert ours[NEUROMORPHOMETRICS.structures[number]].side == side
