"""Cases of several images: in nnU-Net's layout, in a table, and chosen by name."""

import json

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.data import load_case, read_cases, with_channels
from MedLLMSegLib.data.case_digest import case_marks, scan_digest
from MedLLMSegLib.data.channel_names import case_for
from MedLLMSegLib.evaluation.labelled_cases import labelled_cases
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.registry.input_channels import InputChannel, channels_of
from Testing.helpers.two_channels import CHANNELS, SHAPE, write_patients

BOTH = channels_of({"channels": CHANNELS})


@pytest.fixture
def data(tmp_path):
    return write_patients(tmp_path / "data", 4)


def files(case):
    return [path.name for path in case.images]


def test_nnunets_channels_are_the_images_of_a_case(data):
    case_set = read_cases(data)
    assert case_set.channels == ("ct", "pet")
    assert files(case_set.cases[1]) == ["p1_0000.nii.gz", "p1_0001.nii.gz"]
    labelled = labelled_cases(data, ["p2"])
    assert labelled.channels == ("ct", "pet")
    assert files(labelled.cases[0]) == ["p2_0000.nii.gz", "p2_0001.nii.gz"]


def test_images_that_nobody_names_are_numbered_until_the_user_names_them(data):
    (data / "dataset.json").unlink()
    case_set = read_cases(data, {1: "ball"})
    assert case_set.channels == ("channel_0", "channel_1")
    assert with_channels(case_set, ["CT", "PET"]).channels == ("ct", "pet")


def test_the_decathlons_form_of_the_names(data):
    about = json.loads((data / "dataset.json").read_text())
    about["modality"] = about.pop("channel_names") | {"1": "PET (SUV)"}
    (data / "dataset.json").write_text(json.dumps(about))
    assert read_cases(data).channels == ("ct", "pet_suv")


def test_cases_with_other_numbers_of_images_are_refused(data):
    (data / "imagesTr/p2_0001.nii.gz").unlink()
    with pytest.raises(UserError, match=r'"p2" .* has 1 images and "p0" has 2'):
        read_cases(data)


def test_too_many_names_are_refused(data):
    about = json.loads((data / "dataset.json").read_text())
    about["channel_names"]["2"] = "MR"
    (data / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"names 3 images of a case \(CT, PET, MR\)"):
        read_cases(data)


def test_a_table_has_a_column_for_each_image(data, tmp_path):
    rows = [f"data/imagesTr/p{n}_0001.nii.gz,data/labelsTr/p{n}.nii.gz" for n in range(2)]
    rows = [f"p{n},data/imagesTr/p{n}_0000.nii.gz,{row}" for n, row in enumerate(rows)]
    table = tmp_path / "cases.csv"
    table.write_text("\n".join(["id,image_ct,image_PET,label", *rows]), encoding="utf-8")
    case_set = read_cases(table)
    assert (case_set.channels, case_set.cases[1].id) == (("ct", "pet"), "p1")
    assert files(case_set.cases[1]) == ["p1_0000.nii.gz", "p1_0001.nii.gz"]
    table.write_text("\n".join(["image_ct,image_pet,label", "a.nii,,b.nii"]), encoding="utf-8")
    with pytest.raises(UserError, match=r"Row 2 .* there is no file"):
        read_cases(table)


def test_images_are_chosen_and_ordered_by_their_names(data):
    chosen = with_channels(read_cases(data), ["pet"])
    assert (chosen.channels, files(chosen.cases[0])) == (("pet",), ["p0_0001.nii.gz"])
    turned = with_channels(read_cases(data), ["pet", "ct"])
    assert files(turned.cases[0]) == ["p0_0001.nii.gz", "p0_0000.nii.gz"]
    with pytest.raises(UserError, match=r'no image "mr" .*: ct, pet\.'):
        with_channels(read_cases(data), ["ct", "mr"])


def test_a_model_gets_the_images_that_it_takes(data):
    case_set = read_cases(data)
    case = case_set.cases[0]
    assert case_for(case, case_set.channels, BOTH[1:], "m").images == case.images[1:]
    assert case_for(case, ("a", "b"), BOTH, "m").images == case.images  # by their order
    with pytest.raises(UserError, match=r'has 2 images \(ct, pet\), and the model "m" takes one'):
        case_for(case, case_set.channels, (), "m")
    with pytest.raises(UserError, match=r"takes mr \(MR\)"):
        case_for(case, case_set.channels, (InputChannel.named("mr"),), "m")
    assert load_case(case, case_set.channels, BOTH, "m").array.shape == (2, *SHAPE)


def test_a_case_is_recognised_by_each_of_its_images(data):
    case = read_cases(data).cases[0]
    digests = {scan_digest(load_volume(path)) for path in case.images}
    assert case_marks(case).scans == digests
    assert len(digests) == 2
    before = case.sha256()
    case.images[1].write_bytes(case.images[0].read_bytes())
    assert case.sha256() != before
