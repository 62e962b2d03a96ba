"""The brain's structures: FreeSurfer's numbers and colours, codes of Slicer and DICOM, sides."""

import json

import numpy as np
from pydicom.sr.codedict import codes

from MedLLMSegLib.anatomy.brain import (
    BRAIN_GROUPS,
    BRAIN_STRUCTURES,
    NOT_IN_SLICERS_LIST,
    brain_label_table,
    brain_structures,
    is_whole_brain,
)
from MedLLMSegLib.core.segmentation import Structure

# Transcript of FreeSurfer's FreeSurferColorLUT.txt (right sides have the left ones' colours, but
# for one step of blue in the right pallidum).
FREESURFER = """
 2 Left-Cerebral-White-Matter   245 245 245      24 CSF                   60 60 60
 3 Left-Cerebral-Cortex         205 62 78        26 Left-Accumbens-area   255 165 0
 4 Left-Lateral-Ventricle       120 18 134       28 Left-VentralDC        165 42 42
 5 Left-Inf-Lat-Vent            196 58 250       41 Right-Cerebral-White-Matter  245 245 245
 7 Left-Cerebellum-White-Matter 220 248 164      42 Right-Cerebral-Cortex        205 62 78
 8 Left-Cerebellum-Cortex       230 148 34       43 Right-Lateral-Ventricle      120 18 134
10 Left-Thalamus                0 118 14         44 Right-Inf-Lat-Vent           196 58 250
11 Left-Caudate                 122 186 220      46 Right-Cerebellum-White-Matter 220 248 164
12 Left-Putamen                 236 13 176       47 Right-Cerebellum-Cortex      230 148 34
13 Left-Pallidum                12 48 255        49 Right-Thalamus               0 118 14
14 3rd-Ventricle                204 182 142      50 Right-Caudate                122 186 220
15 4th-Ventricle                42 204 164       51 Right-Putamen                236 13 176
16 Brain-Stem                   119 159 176      52 Right-Pallidum               13 48 255
17 Left-Hippocampus             220 216 20       53 Right-Hippocampus            220 216 20
18 Left-Amygdala                103 255 255      54 Right-Amygdala               103 255 255
58 Right-Accumbens-area         255 165 0        60 Right-VentralDC              165 42 42
"""
# Transcript of Slicer's SegmentationCategoryTypeModifier-DICOM-Master.json (Slicer 583e9b37)
SLICERS_LIST = {
    "68523003": "Cerebral White Matter",
    "40146001": "Cerebral cortex",
    "66720007": "Lateral ventricle",
    "33060004": "Cerebellar white matter",
    "42695009": "Thalamus",
    "11000004": "Caudate nucleus",
    "89278009": "Putamen",
    "14738005": "Globus pallidus",
    "49841001": "Third ventricle",
    "35918002": "Fourth ventricle",
    "119238007": "Brain stem",
    "5366008": "Hippocampus",
    "4958002": "Amygdala",
    "65216001": "Cerebrospinal Fluid",
    "427667007": "Nucleus accumbens",
}


def freesurfer_rows():
    """number -> (FreeSurfer's name, colour)"""
    words = FREESURFER.split()
    rows = [words[n : n + 5] for n in range(0, len(words), 5)]
    return {int(number): (name, tuple(map(int, color))) for number, name, *color in rows}


def test_all_32_numbers_are_freesurfers_on_the_right_side():
    freesurfer = freesurfer_rows()
    assert sorted(s.label for s in brain_structures()) == sorted(freesurfer)
    for structure in brain_structures():
        name = freesurfer[structure.label][0]
        first_word = structure.name.split()[0].lower()
        assert name.lower().split("-")[0] == (structure.side or name.lower().split("-")[0])
        assert first_word == structure.side or not structure.side
        assert structure.key.startswith(structure.side)


def test_the_left_has_freesurfers_colour_and_the_right_a_darker_one_of_the_same_hue():
    freesurfer = freesurfer_rows()
    for structure in brain_structures():
        color = np.array(freesurfer[structure.label][1])
        if structure.side == "right":
            np.testing.assert_allclose(structure.color, 0.7 * color, atol=1.2)
        else:
            assert structure.color == tuple(color)
    assert len({s.color for s in brain_structures()}) == 32


def test_the_codes_are_those_of_slicers_list_and_what_it_lacks_those_of_dicom():
    cid = {getattr(codes.cid7140, name).value: name for name in codes.cid7140.dir()}
    for structure in BRAIN_STRUCTURES:
        code = structure.code
        if code in NOT_IN_SLICERS_LIST:
            assert code.value not in SLICERS_LIST
            found = getattr(codes.cid7140, cid[code.value])
            assert (code.scheme, code.meaning) == (found.scheme_designator, found.meaning)
        else:
            assert (code.scheme, code.meaning) == ("SCT", SLICERS_LIST[code.value])


def test_every_structure_has_a_group_and_keys_and_codes_tell_all_apart():
    structures = brain_structures()
    assert {s.group for s in structures} == set(BRAIN_GROUPS)
    assert len({s.key for s in structures}) == 32
    assert len({(s.type, s.modifier) for s in structures}) == 32
    assert {s.sideless_key for s in structures} == {s.key for s in BRAIN_STRUCTURES}


def test_structures_with_groups_go_through_a_bundles_metadata():
    for s in brain_structures():
        assert Structure.from_dict(json.loads(json.dumps(s.to_dict()))) == s


def test_the_table_turns_classes_and_sides_into_freesurfers_numbers():
    table = brain_label_table()
    assert (table.shape, table.dtype) == ((19, 2), np.uint8)
    classes, is_right = np.array([0, 1, 1, 14, 14, 13, 13]), np.array([0, 0, 1, 0, 1, 0, 1])
    # background, white matter, hippocampus, brain stem
    assert table[classes, is_right].tolist() == [0, 2, 41, 17, 53, 16, 16]
    assert sorted(set(table[1:].ravel().tolist())) == sorted(s.label for s in brain_structures())


def test_the_whole_brain_is_all_of_it():
    assert is_whole_brain(brain_structures())
    assert not is_whole_brain(brain_structures()[1:])
