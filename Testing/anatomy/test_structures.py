"""Names, codes and colours: of the heart as Slicer's list has them, of a user's own labels
distinct and the same each time.
"""

import numpy as np

from MedLLMSegLib.anatomy.structures import (
    TISSUE,
    cardiac_structures,
    hippocampus_structures,
    label_color,
    named_structures,
    uncoded_structures,
)


def test_the_hearts_codes_are_those_of_slicers_list():
    codes = {s.key: (s.label, s.type.value, s.type.meaning) for s in cardiac_structures()}
    # Read in Slicer's SegmentationCategoryTypeModifier-DICOM-Master; a term counts only if the
    # meaning agrees too.
    assert codes == {
        "right_ventricle": (1, "53085002", "Right ventricle"),
        "myocardium": (2, "87878005", "Left ventricle"),
        "left_ventricle": (3, "87878005", "Left ventricle"),
    }
    assert {(s.category.value, s.type.scheme) for s in cardiac_structures()} == {
        ("123037004", "SCT")
    }


def test_the_right_side_is_darker_than_the_left_one():
    left, right = np.array([s.color for s in hippocampus_structures(True)]).reshape(2, 2, 3)
    assert (right < left).any(-1).all()
    np.testing.assert_allclose(right, 0.7 * left, atol=0.5)
    by_key = {s.key: sum(s.color) for s in cardiac_structures()}
    assert by_key["right_ventricle"] < by_key["myocardium"]


def test_a_users_labels_get_keys_names_and_colours_of_their_own():
    found = uncoded_structures({4: "Left lung (upper)", 1: "tumour", 2: "tumour", 9: "心"})
    assert [s.label for s in found] == [1, 2, 4, 9]
    assert [s.key for s in found] == [
        "tumour_label_1",
        "tumour_label_2",
        "left_lung_upper",
        "structure",
    ]
    assert [s.name for s in found] == ["Tumour", "Tumour", "Left lung (upper)", "心"]
    assert found[0].category == found[0].type == TISSUE
    assert found[2].color == uncoded_structures({4: "x"})[0].color


def test_all_colours_differ_and_those_of_the_first_labels_clearly():
    colors = np.array([label_color(n) for n in range(1, 256)], float)
    assert len({tuple(c) for c in colors}) == 255
    assert colors.min() >= 0
    assert colors.max() <= 255
    first = colors[:30]
    apart = np.linalg.norm(first[:, None] - first[None], axis=-1) + 999 * np.eye(30)
    assert apart.min() > 25


def test_known_names_get_their_codes_whatever_their_label():
    found = named_structures({1: "LV", 2: "Myocardium", 3: "right_ventricle", 4: "scar"})
    assert [s.key for s in found] == ["left_ventricle", "myocardium", "right_ventricle", "scar"]
    assert [s.label for s in found] == [1, 2, 3, 4]
    assert found[2].type.value == "53085002"
    assert found[3].type == TISSUE
    assert [s.key for s in named_structures({1: "LV", 2: "left ventricle"})] == [
        "lv",
        "left_ventricle",
    ]
