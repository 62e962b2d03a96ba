"""Several images of a patient on one grid, each what its channel takes."""

from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.volume import Quantity, Volume
from MedLLMSegLib.data.channel_images import covered_share, join_channels, stated_as
from MedLLMSegLib.registry.input_channels import InputChannel, channels_of
from Testing.helpers.two_channels import CHANNELS, CT_GRID, SHAPE, patient

BOTH = channels_of({"channels": CHANNELS})
UNKNOWN = Quantity()


@pytest.fixture
def images():
    return patient()[:2]


def unknown(*images):
    """As NIfTI files give them: nothing says what their numbers are."""
    return [replace(image, quantity=UNKNOWN) for image in images]


def moved(image, mm):
    matrix = np.array(image.ijk_to_ras)
    matrix[0, 3] += mm
    return replace(image, ijk_to_ras=matrix)


def test_the_second_image_lies_on_the_first_ones_grid_by_its_place_in_the_patient(images):
    """A PET that is a ramp along the patient's right keeps the value of each place in mm."""
    ct, pet = images
    k, j, i = np.indices(pet.array.shape)
    places = transform_points(pet.ijk_to_ras, np.stack((i, j, k), -1))
    ramp = replace(pet, array=(200 + places[..., 0]).astype(np.float32))
    joined = join_channels([ct, ramp], BOTH, "petct")
    assert joined.array.shape == (2, *SHAPE)
    assert joined.array.dtype == np.float32
    assert np.array_equal(joined.array[0], ct.array)
    k, j, i = np.indices(SHAPE)
    wanted = 200 + transform_points(CT_GRID, np.stack((i, j, k), -1))[..., 0]
    inside = joined.array[1] > ramp.array.min()  # where the PET reaches
    assert inside.mean() > 0.7
    assert np.abs(joined.array[1] - wanted)[inside].max() < 1e-2


def test_images_of_one_grid_are_not_resampled(images):
    ct, _ = images
    pet = Volume(
        np.random.default_rng(0).random(SHAPE), CT_GRID, "pet", quantity=Quantity("PT", "SUV")
    )
    joined = join_channels([ct, pet], BOTH, "petct")
    assert np.array_equal(joined.array[1], pet.array.astype(np.float32))
    assert joined.notes == ()


@pytest.mark.parametrize("count", (0, 1, 3))
def test_too_few_or_too_many(images, count):
    given = [*images, images[0]][:count]
    with pytest.raises(UserError, match=r"takes 2 images.*ct \(CT in HU\), pet \(PET in SUV\)"):
        join_channels(given, BOTH, "petct")


def test_a_wrong_order_is_known_by_the_tags(images):
    with pytest.raises(UserError, match=r'"pet" cannot be the image ct .*it is a PET by its tags'):
        join_channels(images[::-1], BOTH, "petct")


def test_a_wrong_order_is_known_by_the_values(images):
    with pytest.raises(UserError, match="fat and air are below 0 HU"):
        join_channels(unknown(*images[::-1]), BOTH, "petct")
    ct, _ = images
    with pytest.raises(UserError, match=r"go down to -1000, and a SUV is never below 0"):
        join_channels(unknown(ct, ct), BOTH, "petct")


def test_a_ct_by_its_tags_may_show_soft_tissue_alone(images):
    """As within a region of interest."""
    ct, pet = images
    soft = replace(ct, array=ct.array.clip(20, 60))
    assert join_channels([soft, pet], BOTH, "petct").array[0].max() == 60
    with pytest.raises(UserError, match="fat and air are below 0 HU"):
        join_channels(unknown(soft, pet), BOTH, "petct")


def test_becquerels_are_no_suv(images):
    ct, pet = images
    hot = replace(pet, array=5000 * pet.array)
    with pytest.raises(UserError, match=r"go up to 4e\+04, which no SUV does"):
        join_channels(unknown(ct, hot), BOTH, "petct")


def test_a_pet_of_no_unit_is_taken_as_suv_with_a_note(images):
    ct, pet = unknown(*images)
    joined = join_channels([ct, pet], BOTH, "petct")
    assert joined.notes == ('"pet" states no unit; its values were taken as SUV.',)
    stated = stated_as(pet, BOTH[1], "suv")
    assert join_channels([ct, stated], BOTH, "petct").notes == ()


def test_a_factor_brings_values_to_suv(images):
    ct, pet = images
    scaled = replace(pet, array=20 * pet.array, quantity=UNKNOWN)
    plain = join_channels([ct, pet], BOTH, "petct").array
    restored = join_channels([ct, stated_as(scaled, BOTH[1], "0.05")], BOTH, "petct").array
    assert np.allclose(restored, plain, rtol=1e-5)
    for wrong in ("BQML", "0", "-1", "nan"):
        with pytest.raises(UserError, match=f'given as "{wrong}", and possible is SUV or a factor'):
            stated_as(pet, BOTH[1], wrong)


def test_a_dicom_pet_comes_to_suv_by_its_factor(images):
    ct, pet = images
    raw = replace(pet, array=pet.array / 2e-4, quantity=Quantity("PT", "BQML", 2e-4))
    plain = join_channels([ct, pet], BOTH, "petct").array
    assert np.allclose(join_channels([ct, raw], BOTH, "petct").array, plain, rtol=1e-5)
    without = replace(raw, quantity=Quantity("PT", "BQML", None, "PatientWeight is missing"))
    with pytest.raises(UserError, match="cannot be worked out: PatientWeight is missing"):
        join_channels([ct, without], BOTH, "petct")


def test_images_that_hardly_overlap(images):
    ct, pet = images
    with pytest.raises(UserError, match=r'"pet" \(pet\) covers 0% of "ct"'):
        join_channels([ct, moved(pet, 60)], BOTH, "petct")
    joined = join_channels([ct, moved(pet, 15)], BOTH, "petct")
    assert "beyond it, the model saw none of its pet" in joined.notes[0]


def test_the_share_that_is_covered():
    grid = Volume(np.zeros((20, 20, 20)), np.eye(4)).grid
    half = np.eye(4)
    half[2, 3] = 10
    assert covered_share(grid, Volume(np.zeros((20, 20, 20)), half).grid) == pytest.approx(0.5)


def test_one_named_image_is_checked_and_stays_as_it_is(images):
    ct, pet = images
    joined = join_channels([pet], BOTH[1:], "pet-only")
    assert joined.array is pet.array
    with pytest.raises(UserError, match=r'"ct" cannot be the image pet .*choose another image'):
        join_channels([ct], BOTH[1:], "pet-only")


def test_what_a_name_says():
    assert (InputChannel.named("PET").modality, InputChannel.named("PET").unit) == ("PT", "SUV")
    assert InputChannel.named("ct").unit == "HU"
    assert InputChannel.named("T1 MR").unit == ""
    assert InputChannel.named("channel_0") == InputChannel("channel_0")
    with pytest.raises(UserError, match="small letters"):
        InputChannel("a b")
