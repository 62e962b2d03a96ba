"""Which cases are measured, and how their labels are matched with the model's structures."""

import numpy as np
import pytest

from MedLLMSegLib.anatomy.structures import cardiac_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.evaluation.labelled_cases import LabelledCases, with_model_values

TRUTH = np.array([[[0, 1, 2]]], np.uint8)


def test_synonyms_of_a_structure_are_understood():
    labelled = LabelledCases((), {1: "LV cavity", 2: "Myocardium of the left ventricle"})
    renamed = with_model_values(TRUTH, "a", labelled, cardiac_structures())
    np.testing.assert_array_equal(renamed, [[[0, 3, 2]]])


def test_a_name_that_the_model_does_not_know_is_an_error():
    labelled = LabelledCases((), {1: "spleen", 2: "myo"})
    with pytest.raises(UserError, match="spleen"):
        with_model_values(TRUTH, "a", labelled, cardiac_structures())
