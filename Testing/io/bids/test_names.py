"""Names in BIDS: what they say, and how a derivative is called."""

from pathlib import Path

import pytest

from MedLLMSegLib.io.bids.names import alphanumeric, read_name


def test_a_name_is_entities_and_a_suffix():
    name = read_name(Path("sub-01/anat/sub-01_ses-a_run-02_T1w.nii.gz"))
    assert name.entities == (("sub", "01"), ("ses", "a"), ("run", "02"))
    assert (name.suffix, name.label("ses"), name.label("acq")) == ("T1w", "a", None)
    assert name.stem == "sub-01_ses-a_run-02_T1w"


def test_a_derivative_keeps_the_entities_and_says_from_which_contrast():
    name = read_name(Path("sub-01_run-2_FLAIR.nii")).derived("dseg", seg="brainmr", res="cubes1mm")
    assert name.stem == "sub-01_run-2_seg-brainmr_res-cubes1mm_desc-FLAIR_dseg"
    assert alphanumeric("brain-mr 2") == "brainmr2"


@pytest.mark.parametrize(
    "name",
    [
        "head.nii.gz", "T1w.nii.gz", "sub-01.nii.gz", "sub-01_T1w.json", "sub-01_T1w.mgz",
        "ses-a_sub-01_T1w.nii.gz", "sub-01_sub-02_T1w.nii.gz", "sub-01_acq-a.b_T1w.nii.gz",
        "sub-_T1w.nii.gz", "sub-01__T1w.nii.gz",
    ],
)  # fmt: skip
def test_other_names_are_none(name):
    assert read_name(Path(name)) is None
