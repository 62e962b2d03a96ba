"""Structures chosen by name or group: what a name stands for, and what is left of a result."""

import numpy as np
import pytest

from MedLLMSegLib.anatomy.brain import BRAIN_STRUCTURES, brain_structures
from MedLLMSegLib.anatomy.structures import cardiac_structures, hippocampus_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.segmentation.selection import check_names, chosen_structures, names_in, only


@pytest.mark.parametrize(
    "names, keys",
    [
        (["hippocampus"], ["left_hippocampus", "right_hippocampus"]),
        (["Left Hippocampus", "CSF"], ["left_hippocampus", "csf"]),
        (["right_accumbens"], ["right_accumbens"]),
        (["cerebral white-matter"], ["left_cerebral_white_matter", "right_cerebral_white_matter"]),
        (["cortex"], ["left_cerebral_cortex", "right_cerebral_cortex"]),
    ],
)
def test_a_name_a_name_without_side_and_a_group_are_understood(names, keys):
    check_names(names, brain_structures())
    assert [s.key for s in chosen_structures(names, brain_structures())] == keys


def test_a_group_is_all_of_it():
    deep = chosen_structures(["deep grey"], brain_structures())
    assert {s.sideless_key for s in deep} == {
        s.key for s in BRAIN_STRUCTURES if s.group == "deep grey"
    }
    assert len(deep) == 16


def test_other_models_are_asked_by_key_or_name():
    assert [s.key for s in chosen_structures(["anterior"], hippocampus_structures(True))] == [
        "left_anterior",
        "right_anterior",
    ]
    heart = chosen_structures(["right ventricle"], cardiac_structures())
    assert [s.key for s in heart] == ["right_ventricle"]


def test_an_unknown_name_is_one_sentence_with_the_nearest_first():
    with pytest.raises(UserError) as error:
        check_names(["hipocampus"], brain_structures())
    message = str(error.value)
    assert message.startswith('The model has no structure or group "hipocampus"; it has hippocamp')
    assert "right_ventral_diencephalon" in message
    assert "deep grey" in message
    assert message.count(".") == 1


@pytest.mark.parametrize("text", ["", " , "])
def test_a_list_without_a_name_is_refused(text):
    with pytest.raises(UserError, match="list of structures names none"):
        names_in(text)
    assert names_in("a, deep grey,") == ("a", "deep grey")


def whole_result() -> Segmentation:
    structures = hippocampus_structures(True)
    labels = Volume(np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 5, np.eye(4))
    probabilities = np.stack([np.full((3, 4, 5), s.label, np.float32) for s in structures])
    return Segmentation(
        labels,
        structures,
        {1: 0.9, 2: 0.8, 3: 0.7, 4: float("nan")},
        labels.with_array(probabilities),
        intracranial=IntracranialVolume(7.0),
    )


def test_only_what_was_asked_for_is_left():
    whole = whole_result()
    part = only(whole, ["right_posterior", "left_anterior"])
    assert [s.label for s in part.structures] == [1, 4]  # in the model's order
    np.testing.assert_array_equal(part.labels.array, whole.labels.array * np.isin(
        whole.labels.array, (1, 4)))  # fmt: skip
    assert part.labels.array.dtype == np.uint8
    assert list(part.confidence) == [1, 4]
    assert part.probabilities.array[:, 0, 0, 0].tolist() == [1, 4]
    assert part.intracranial == whole.intracranial
    assert (whole.labels.array == 2).any()  # the whole one stays whole


def test_where_nothing_asked_for_is_looked_for_in_a_scan_it_is_said():
    crop = hippocampus_structures(False)
    with pytest.raises(UserError, match=r"left_anterior.*anterior, posterior"):
        chosen_structures(["left_anterior"], crop)
    assert len(chosen_structures(["left_anterior", "posterior"], crop)) == 1
