"""Flat images of several channels: named, co-registered, or missing."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from MedLLMSegLib import UserError, Volume, diagnose, save_volume
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.diagnosis.inputs.prepare_input import prepare_input
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.noise_volumes import noise_volume
from Testing.helpers.tiny_classifier import tiny_network, write_tiny


def test_a_model_of_two_channels_does_without_one(tmp_path):
    model = load_classifier(
        write_tiny(tmp_path / "c", tiny_network(kind="fusion", channels=2, record=None)), "cpu"
    )
    one, two = (
        Volume(
            np.random.default_rng(n).normal(0, 1, (1, 70, 60)).astype(np.float32),
            np.eye(4),
            "x",
            {"window_center": 0.0, "window_width": 6.0},
        )
        for n in range(2)
    )
    both, first, second = (
        diagnose([one, two], model),
        diagnose(one, model),
        diagnose([None, two], model),
    )
    assert len({round(each.probabilities["pneumonia"], 7) for each in (both, first, second)}) == 3
    assert any("1 of the model's 2 channels are missing" in n for n in first.notes)
    assert both.heat_map is not None
    assert second.heat_map is None
    assert any("no heat map" in n for n in second.notes)
    assert prepare_input([None, two], model).batch["image"][0, 0].isnan().all()
    with pytest.raises(UserError, match="3 images were given"):
        diagnose([one, two, one], model)


PET, CT = (
    {"Modality": "PT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"},
    {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
)


PET_CT = InputConfig(modalities=("PT",), body_part="", views=(), channels={"ct": ("CT",)})


@pytest.fixture(scope="module")
def pet_ct(tmp_path_factory):
    return write_tiny(
        tmp_path_factory.mktemp("p") / "pet-ct",
        tiny_network(kind="fusion", channels=2, record=None),
        id="pet-ct",
        modality="PET/CT",
        input=PET_CT,
    )


def slices_of(folder, ct_shape=(70, 60), ct_mm=(2.0, 2.0)):
    """A PET and a CT slice as DICOM files."""

    def write(name, shape, mm, seed, tags):
        pixels = np.random.default_rng(seed).integers(0, 2000, shape).astype(np.uint16)
        return write_dicom(
            folder / name, pixels, PixelSpacing=mm, WindowCenter=1000, WindowWidth=2000, **tags
        )

    return write("pet.dcm", (70, 60), [2.0, 2.0], 0, PET), write(
        "ct.dcm", ct_shape, list(ct_mm), 1, CT
    )


def test_each_channel_has_its_modality_and_a_missing_one_its_name(pet_ct, tmp_path):
    model, (pet, ct) = load_classifier(pet_ct, "cpu"), slices_of(tmp_path)
    both, alone = diagnose([pet, ct], model), diagnose(pet, model)
    assert both.probabilities != alone.probabilities
    assert not any("missing" in note for note in both.notes)
    assert "1 of the model's 2 channels are missing (ct)." in alone.notes
    assert "1 of the model's 2 channels are missing (image)." in diagnose([None, ct], model).notes
    for images, words in (
        ([ct, pet], "is a CT image by its DICOM tags"),
        ([pet, pet], "takes CT images as its channel ct"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            diagnose(images, model)
        assert ". " not in str(caught.value)
    two = write_dicom(
        tmp_path / "two.dcm",
        np.arange(4200).reshape(70, 60).astype(np.uint16),
        **PET,
        WindowCenter=[2000, 500],
        WindowWidth=[4000, 300],
    )
    assert (
        diagnose([two, ct], model, window=2).probabilities
        != diagnose([two, ct], model).probabilities
    )  # the CT has one window only


@pytest.mark.parametrize(
    "ct, words",
    (
        ({"ct_shape": (70, 64)}, '64 x 70 pixels, beside "pet" with 60 x 70'),
        ({"ct_mm": (2.0, 1.5)}, "pixels of 1.5 x 2 mm, beside"),
    ),
)
def test_images_of_a_case_have_to_be_co_registered(pet_ct, tmp_path, ct, words):
    with pytest.raises(UserError, match=words) as caught:
        diagnose(list(slices_of(tmp_path, **ct)), pet_ct, device="cpu")
    assert "channel ct" in str(caught.value)
    assert ". " not in str(caught.value)


def test_a_picture_beside_a_file_with_pixel_sizes_is_laid_on_its_pixels(pet_ct, tmp_path):
    """A picture's own size is the printer's; and what is not square is stretched in both
    channels alike.
    """
    model = load_classifier(pet_ct, "cpu")
    grey = np.random.default_rng(0).integers(0, 255, (70, 60)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "ct.tif", dpi=(72, 72))
    pet = write_dicom(
        tmp_path / "pet.dcm",
        grey.astype(np.uint16),
        **PET,
        PixelSpacing=[3.0, 1.0],
        WindowCenter=127.5,
        WindowWidth=255,
        VOILUTFunction="LINEAR_EXACT",
    )
    image = prepare_input([pet, tmp_path / "ct.tif"], model).batch["image"][0]
    assert torch.allclose(image[0], image[1], atol=1e-4)


def test_a_ct_slice_without_tags_may_be_a_channel(pet_ct, tmp_path):
    """Where a model of X-rays takes its values for a mistake."""
    slice_ = Volume(
        np.linspace(-1000, 500, 4200, dtype=np.float32).reshape(1, 70, 60), np.eye(4), "ct"
    )
    save_volume(slice_, tmp_path / "ct.nrrd")
    for ct in (slice_, tmp_path / "ct.nrrd"):
        found = diagnose([noise_volume((1, 70, 60), grid="fine"), ct], pet_ct, device="cpu")
        assert any(note.startswith("ct: The image names no window") for note in found.notes)
        with pytest.raises(UserError, match="as a CT slice"):
            diagnose(ct, write_tiny(tmp_path / "flat"), device="cpu")


def test_the_card_names_the_channels(pet_ct):
    card = " ".join((pet_ct / "docs/README.md").read_text(encoding="utf-8").split())
    assert (
        "co-registered images of one patient: image (PET), ct (CT); any of them may be missing"
        in card
    )
    assert "medllmseg diagnose image.dcm --channel ct=ct.dcm --model pet-ct" in card
    metadata = json.loads((pet_ct / "configs/metadata.json").read_text(encoding="utf-8"))
    assert metadata["network_data_format"]["inputs"]["image"]["channel_def"] == {
        "0": "image",
        "1": "ct",
    }
