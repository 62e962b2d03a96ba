"""The sentence that says which model suits a scan, and why."""

from dataclasses import replace

import pytest

from MedLLMSegLib.registry.catalogue import list_models
from MedLLMSegLib.registry.memory_estimate import ModelChoice
from MedLLMSegLib.registry.model_fit import ScanFacts
from MedLLMSegLib.slicer_bridge.presenter.suggestion import NO_SUGGESTION, suggestion_for

MODELS = tuple(ModelChoice(entry, True, "") for entry in list_models())
HEAD = ScanFacts("MRHead", spacing_mm=(1.3, 1.0, 1.0), size_mm=(169.0, 256.0, 256.0))
CINE = ScanFacts("SAX", spacing_mm=(10.0, 1.4, 1.4), size_mm=(90.0, 300.0, 300.0))
HIPPOCAMPUS = "Hippocampus, anterior and posterior, in T1 MRI"
HEART = "Heart, both ventricles, in cine MRI"


@pytest.mark.parametrize(
    "scan, sentence",
    [
        (
            HEAD,
            f"{HIPPOCAMPUS} suits MRHead: its name says MR and head; size and voxels are as in the"
            " training.",
        ),
        (
            replace(HEAD, name="3: MPRAGE", modality="MR", descriptions=("HEAD",)),
            f"{HIPPOCAMPUS} suits 3: MPRAGE: its DICOM tag says MR; its name or description says T1"
            " and head; size and voxels are as in the training.",
        ),
        (
            replace(CINE, modality="MR", is_series=True),
            f"{HEART} suits SAX: its DICOM tag says MR; it is a series over time; its slices are 10"
            " mm apart.",
        ),
    ],
)
def test_it_says_why(scan, sentence):
    assert suggestion_for(scan, MODELS, "hippocampus-t1").sentence == sentence


def test_what_the_chosen_model_was_not_trained_on_is_said():
    found = suggestion_for(replace(HEAD, name="CT 7"), MODELS, "hippocampus-t1")
    assert found.model == ""
    assert found.sentence == "CT 7 seems to be CT, and this model was trained on MR T1."


def test_without_a_scan_and_without_a_hint_nothing_is_said():
    assert suggestion_for(None, MODELS, "hippocampus-t1") is NO_SUGGESTION
    assert suggestion_for(replace(HEAD, name="7"), MODELS, "hippocampus-t1") is NO_SUGGESTION
