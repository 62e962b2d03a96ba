"""Which model suits a scan: the shipped ones, and what a user may have imported."""

from dataclasses import replace

import pytest

from MedLLMSegLib.registry.catalogue import list_models
from MedLLMSegLib.registry.model_fit import ScanFacts, best_fit, fit_of
from MedLLMSegLib.registry.scan_words import words_of

HEAD = ScanFacts("scan", spacing_mm=(1.3, 1.0, 1.0), size_mm=(169.0, 256.0, 256.0))
CINE = ScanFacts("scan", spacing_mm=(10.0, 1.4, 1.4), size_mm=(90.0, 300.0, 300.0))
SHIPPED = list_models()
CT = replace(
    SHIPPED[0],
    id="body-ct",
    title="Everything in the body",
    modality="CT",
    structures=("Liver", "Lung"),
)


def suggested(scan, entries=(*SHIPPED, CT)):
    fit = best_fit(scan, entries)
    return fit and fit.entry.id


@pytest.mark.parametrize(
    "scan, expected",
    [
        (replace(HEAD, name="MRHead"), "brain-mr"),
        (replace(HEAD, name="MNI152 T1"), "brain-mr"),
        (replace(HEAD, name="sub-01_T1w"), "brain-mr"),
        (replace(HEAD, name="5: MPRAGE sag"), "brain-mr"),
        (replace(HEAD, modality="MR", descriptions=("BRAIN",)), "brain-mr"),
        (replace(HEAD, name="T2w of the head"), "brain-mr"),
        (replace(HEAD, name="FLAIR", spacing_mm=(5.0, 0.5, 0.5)), "brain-mr"),
        (replace(HEAD, name="T1 hippocampus", size_mm=(60.0, 60.0, 60.0)), "hippocampus-t1"),
        (replace(CINE, name="patient001_4d", is_series=True), "cardiac-cine-mr"),
        (replace(CINE, name="SAX cine"), "cardiac-cine-mr"),
        (replace(CINE, modality="MR", descriptions=("Cardiac^short axis",)), "cardiac-cine-mr"),
        (replace(HEAD, name="CTChest"), "body-ct"),
        (replace(HEAD, modality="CT"), "body-ct"),
        (replace(HEAD, lowest=-1024.0), "body-ct"),
    ],
)
def test_the_model_that_suits_is_found(scan, expected):
    assert suggested(scan) == expected


@pytest.mark.parametrize(
    "scan",
    [
        replace(HEAD, name="scan 01"),  # nothing is known
        replace(HEAD, name="MR knee"),
        replace(HEAD, name="T2_lumbar_spine", size_mm=(80.0, 300.0, 300.0)),
        replace(HEAD, name="shoulder_T1", size_mm=(120.0, 160.0, 160.0)),
        replace(HEAD, name="T2 scan", size_mm=(60.0, 400.0, 400.0)),  # of no known part, no head
        replace(HEAD, name="Mrs Smith"),
        replace(HEAD, name="Octavia"),
        replace(HEAD, modality="US"),
    ],
)
def test_where_no_model_suits_none_is_suggested(scan):
    assert suggested(scan, SHIPPED) is None


def test_a_scan_of_another_modality_contradicts_the_model():
    fit = fit_of(replace(HEAD, modality="CT", name="MRHead"), SHIPPED[-1])
    assert (fit.points, fit.other) == (None, ("CT", "MR T1"))
    fit = fit_of(replace(HEAD, name="FLAIR"), SHIPPED[-1])
    assert fit.other == ("FLAIR", "T1")


def test_what_speaks_for_it_is_named():
    fit = fit_of(replace(HEAD, name="MRHead"), SHIPPED[-1])
    assert (fit.modality, fit.words, fit.slices_mm) == (("MR", "name"), ("head",), None)
    assert fit.voxels_alike
    assert fit.size_alike
    fit = best_fit(replace(CINE, modality="MR", is_series=True), SHIPPED)
    assert (fit.modality, fit.slices_mm, fit.is_series) == (("MR", "DICOM"), 10.0, True)


def test_of_two_that_suit_as_well_the_chosen_one_stays():
    own = replace(SHIPPED[-1], id="hippocampus-of-mine")
    scan = replace(HEAD, name="MRHead")
    assert best_fit(scan, (*SHIPPED, own)).entry.id == "brain-mr"
    assert best_fit(scan, (*SHIPPED, own), chosen=own.id).entry.id == own.id


def test_a_bundle_that_cannot_be_read_is_judged_by_its_name(tmp_path):
    lost = replace(SHIPPED[-1], folder=tmp_path / "gone")
    assert suggested(replace(HEAD, name="T1 head"), (lost,)) == lost.id


@pytest.mark.parametrize(
    "name, words",
    [
        ("MRHead", {"mr", "head"}),
        ("MRBrainTumor1", {"mr", "brain", "tumor", "tumor1"}),
        ("sub-01_T1w.nii", {"sub", "01", "t1w", "nii"}),
        ("5: CT-chest", {"5", "ct", "chest"}),
    ],
)
def test_words_of_names(name, words):
    assert words_of(name) == words


def test_a_model_for_any_contrast_claims_no_voxels_of_its_training():
    brain = next(entry for entry in SHIPPED if entry.id == "brain-mr")
    fit = fit_of(replace(HEAD, name="T2 head", spacing_mm=(12.0, 1.0, 1.0)), brain)
    assert fit.points and not fit.voxels_alike
