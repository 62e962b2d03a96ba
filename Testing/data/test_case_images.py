"""Cases whose images are the volumes of one file (4D)."""

import json

import numpy as np
import pytest

from MedLLMSegLib import load_volume
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.data import load_case, read_cases, with_channels
from MedLLMSegLib.data.case_digest import case_marks
from MedLLMSegLib.evaluation.labelled_cases import labelled_cases
from MedLLMSegLib.io.image_count import image_count
from MedLLMSegLib.registry.input_channels import channels_of
from Testing.helpers.two_channels import CHANNELS, SHAPE, patient, write_in_one_file, write_patients

BOTH = channels_of({"channels": CHANNELS})


@pytest.fixture
def data(tmp_path):
    return write_in_one_file(tmp_path / "data", 4)


def name_images(data, **names):
    about = json.loads((data / "dataset.json").read_text())
    about["channel_names"] = names
    (data / "dataset.json").write_text(json.dumps(about))


def test_the_volumes_of_a_file_are_the_images_of_a_case(data, tmp_path):
    apart = write_patients(tmp_path / "apart", 4, one_grid=True)
    for case_set, wanted in (
        (read_cases(data), read_cases(apart)),
        (labelled_cases(data, ["p1", "p2"]), labelled_cases(apart, ["p1", "p2"])),
    ):
        assert case_set.channels == ("ct", "pet")
        for one, other in zip(case_set.cases, wanted.cases, strict=True):
            arrays = [load_case(c, ("ct", "pet"), BOTH, "m").array for c in (one, other)]
            assert np.array_equal(*arrays)
            assert case_marks(one) == case_marks(other)


def test_the_model_names_the_volumes_it_takes(data):
    case = read_cases(data).cases[0]
    pet = load_case(case, ("ct", "pet"), BOTH[1:], "m")
    assert np.array_equal(pet.array, load_volume(case.image).array[1])
    swapped = with_channels(read_cases(data), ["pet", "ct"]).cases[0]
    assert load_case(swapped, ("pet", "ct"), BOTH, "m").array.shape == (2, *SHAPE)
    assert np.array_equal(
        load_case(swapped, ("pet", "ct"), BOTH, "m").array,
        load_case(case, ("ct", "pet"), BOTH, "m").array,
    )


def test_one_of_them_alone_is_refused(data):
    with pytest.raises(UserError, match="lie in one file, of which two or more can be named"):
        with_channels(read_cases(data), ["pet"])


def test_volumes_that_the_data_do_not_name_are_a_series_until_the_user_names_them(data):
    (data / "dataset.json").unlink()
    case_set = read_cases(data, {1: "ball"})
    assert case_set.channels == ()
    assert case_set.cases[0].volumes == ()
    with pytest.raises(UserError, match="series of 2 images"):
        load_case(case_set.cases[0], (), BOTH[:1], "m")
    assert with_channels(case_set, ["CT", "PET"]).cases[0].volumes == (0, 1)
    with pytest.raises(UserError, match=r"holds 2 images, and 3 are named \(ct, pet, mr\)"):
        with_channels(case_set, ["ct", "pet", "mr"])


def test_other_numbers_of_volumes_than_names_are_refused(data):
    name_images(data, **{"0": "CT", "1": "PET", "2": "MR"})
    with pytest.raises(UserError, match=r'p0.nii.gz" holds 2 images, and 3 are named'):
        read_cases(data)


def test_one_case_of_another_kind_is_refused(data):
    from MedLLMSegLib import save_volume

    save_volume(patient(1)[0], data / "imagesTr/p1.nii.gz")
    with pytest.raises(UserError, match=r'p1.nii.gz" holds 1 image, and 2 are named'):
        read_cases(data)


def test_a_file_of_one_image_stays_one_whatever_the_data_name(data):
    from MedLLMSegLib import save_volume

    for n in range(4):
        save_volume(patient(n)[0], data / f"imagesTr/p{n}.nii.gz")
    assert read_cases(data).channels == ()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_images_are_counted_by_the_header(tmp_path, suffix):
    import SimpleITK as sitk

    for count in (1, 3):
        path = tmp_path / f"{count}{suffix}"
        shape = (count, 4, 5, 6) if count > 1 else (4, 5, 6)
        sitk.WriteImage(
            sitk.GetImageFromArray(np.zeros(shape, np.int16), isVector=False), str(path)
        )
        assert image_count(path) == count
    assert image_count(tmp_path / "missing.nii") == 1
    assert image_count(tmp_path) == 1
    (tmp_path / "damaged.nii.gz").write_bytes(b"no header")
    (tmp_path / "damaged.nrrd").write_bytes(b"NRRD0004\nno header")
    assert image_count(tmp_path / "damaged.nii.gz") == 1
    assert image_count(tmp_path / "damaged.nrrd") == 1
