"""Volumes as sequences of slices or frames, channels, records: prepared, diagnosed, and mapped
back to the voxels.
"""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from MedLLMSegLib import UserError, Volume, diagnose, save_volume
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.diagnosis.inputs.prepare_input import prepare_input
from MedLLMSegLib.diagnosis.inputs.record_input import record_fields
from MedLLMSegLib.diagnosis.inputs.sequence_input import maps_onto_slices
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.diagnosis.slice_sequences import (
    evenly,
    sequence_from_frames,
    sequence_from_slices,
)
from MedLLMSegLib.registry.classifier_config import PreparationConfig, RecordConfig
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.grids import GRIDS
from Testing.helpers.tiny_classifier import tiny_network, volumes, write_tiny

CONFIG = PreparationConfig(size=64)
RECORD = RecordConfig(
    ("age", "dose"), {"sex": ("F", "M"), "side": ("left", "right")}, (50.0, 1.0), (20.0, 2.0)
)


def noise(shape, seed=0, name="scan", grid="oblique, flipped, permuted, anisotropic"):
    return Volume(
        np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32),
        GRIDS[grid].ijk_to_ras,
        name,
    )


# ---- sequences ----


@pytest.mark.parametrize(
    "count, wanted, found",
    ((5, 5, [0, 1, 2, 3, 4]), (10, 5, [1, 3, 5, 7, 9]), (9, 3, [1, 4, 7]), (4, 9, [0, 1, 2, 3])),
)
def test_steps_are_evenly_spaced(count, wanted, found):
    assert evenly(count, wanted).tolist() == found
    assert evenly(2, 5, repeat=True).tolist() == [0, 0, 1, 1, 1]


def test_slices_of_a_volume_are_steps_that_stay_comparable():
    volume = noise((7, 40, 30))
    volume.array[3] += 60
    steps = sequence_from_slices(volume, CONFIG)
    assert (
        steps.images.shape == (7, 1, 64, 64)
        and steps.images.dtype == np.float32
        and steps.slices[:, 0].tolist() == list(range(7))
    )
    means = steps.images.mean((1, 2, 3))
    assert (
        means.argmax() == 3 and means[3] > means[[0, 1, 2, 4, 5, 6]].max() + 0.5
    )  # not normalised one by one
    assert sequence_from_slices(volume, CONFIG, longest=3).slices[:, 0].tolist() == [1, 3, 5]
    assert sequence_from_slices(
        Volume(volume.array[:1], volume.ijk_to_ras), CONFIG
    ).images.shape == (
        1,
        1,
        64,
        64,
    )


def test_frames_are_steps_whose_channels_are_slices():
    frames = [noise((6, 40, 30), n) for n in range(3)]
    steps = sequence_from_frames(frames, CONFIG, slices=2)
    assert (
        steps.images.shape == (3, 2, 64, 64)
        and steps.slices.tolist() == [[1, 4]] * 3
        and steps.volumes.tolist() == [[0, 0], [1, 1], [2, 2]]
    )
    assert np.allclose(
        steps.images[2, 1], sequence_from_slices(frames[2], CONFIG).images[4, 0], atol=1e-6
    )
    with pytest.raises(UserError, match="the frames of a sequence need one grid"):
        sequence_from_frames([frames[0], noise((5, 40, 30))], CONFIG)


@pytest.mark.parametrize("shape", ((3, 40, 30), (3, 30, 40)))
def test_a_map_of_a_step_comes_back_to_its_slice(shape):
    volume = noise(shape)
    volume.array[1, 25, 12] = 1e3
    volume.array[1, 24:27, 11:14] += 300
    steps = sequence_from_slices(volume, CONFIG)
    back = steps.to_slice(steps.images[1, 0])
    assert (
        back.shape == shape[1:]
        and np.abs(np.array(np.unravel_index(back.argmax(), back.shape)) - (25, 12)).max() <= 1
    )
    maps = np.zeros((3, 8, 8))
    maps[1, 3, 4] = 1
    whole = maps_onto_slices(maps, steps, shape[0])
    assert whole.shape == shape and whole[1].max() > 0.5 and whole[[0, 2]].max() == 0


@pytest.fixture(scope="module")
def slices_bundle(tmp_path_factory):
    return write_tiny(
        tmp_path_factory.mktemp("s") / "slices",
        tiny_network(kind="cnn-lstm"),
        modality="CT",
        input=volumes(),
    )


@pytest.fixture(scope="module")
def frames_bundle(tmp_path_factory):
    network = tiny_network(kind="cnn-lstm", classes=("a", "b", "c"), channels=2)
    return write_tiny(
        tmp_path_factory.mktemp("f") / "frames",
        network,
        threshold=None,
        modality="MR",
        input=InputConfig("frames", ("MR",), "HEART", (), slices=2),
    )


def test_a_volume_is_diagnosed_slice_by_slice(slices_bundle, tmp_path):
    volume, model = noise((6, 40, 30)), load_classifier(slices_bundle, "cpu")
    found = diagnose(volume, model)
    batch = {
        "image": torch.from_numpy(sequence_from_slices(volume, CONFIG).images)[None],
        "lengths": torch.tensor([6]),
    }
    assert np.allclose(
        list(found.probabilities.values()),
        torch.softmax(model.network(batch)[0] / 1.5, 0).detach(),
        atol=1e-5,
    )
    assert (
        found.heat_map.array.shape == (6, 40, 30)
        and found.heat_map.array.max() == 1
        and np.allclose(found.heat_map.ijk_to_ras, volume.ijk_to_ras)
    )
    assert found.shown.shape == (40, 30) and found.shown_slice == 3
    turned = diagnose(volume.with_array(volume.array[::-1].copy()), model)
    assert turned.probabilities != found.probabilities  # the order of slices counts
    save_volume(noise((6, 40, 30), grid="fine"), tmp_path / "x.nii.gz")
    assert diagnose(tmp_path / "x.nii.gz", model).heat_map.array.shape == (6, 40, 30)


def test_frames_are_diagnosed_from_a_list_and_from_one_series(frames_bundle):
    frames, model = [noise((5, 40, 30), n) for n in range(2)], load_classifier(frames_bundle, "cpu")
    found = diagnose(frames, model)
    series = diagnose(
        Volume(np.stack([f.array for f in frames]), frames[0].ijk_to_ras, "cine"), model
    )
    assert series.probabilities == found.probabilities and found.heat_map.array.shape == (5, 40, 30)
    assert diagnose(frames[::-1], model).probabilities != found.probabilities
    with pytest.raises(UserError, match=r"is one volume, and the model .* looks at several"):
        diagnose(frames[0], model)


def test_what_a_model_of_volumes_refuses(slices_bundle, frames_bundle, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, (80, 80)).astype(np.uint16)
    path = write_dicom(tmp_path / "x.dcm", pixels, Modality="CR")
    for image, options, words in (
        (path, {}, "is an X-ray image by its DICOM tags .CR., and the model .* takes CT images"),
        ([noise((4, 40, 30))] * 2, {}, "takes one at a time"),
        (noise((4, 40, 30)), {"window": 1}, "no lung mask and no choice of a window"),
        (Volume(np.zeros((4, 40, 30)), np.eye(4), "air"), {}, "same value"),
        (noise((2, 4, 40, 30)), {}, "series of 2"),
    ):
        with pytest.raises(UserError, match=words):
            diagnose(image, slices_bundle, device="cpu", **options)


# ---- channels and records ----


def test_a_record_becomes_numbers_and_categories_with_gaps():
    fields, notes = record_fields({"age": " 63 ", "sex": "M", "dose": ""}, RECORD, "m")
    assert (
        fields["numbers"][0, 0] == 63
        and fields["numbers"][0, 1].isnan()
        and fields["categories"].tolist() == [[1, -1]]
    )
    assert notes == ("The record does not state dose, side, so the answer is less sure.",)
    assert (
        record_fields(None, None, "m") == ({}, ()) and len(record_fields(None, RECORD, "m")[1]) == 1
    )
    assert record_fields({"age": 63, "dose": 1.5, "sex": "F", "side": "left"}, RECORD, "m")[1] == ()


@pytest.mark.parametrize(
    "record, words",
    (
        ({"weight": 70}, '"weight", and the model "m" knows age, dose, sex, side'),
        ({"age": "old"}, 'age is "old", and a number'),
        ({"age": "inf"}, "a number is needed"),
        ({"sex": "X"}, "one of F, M is needed"),
    ),
)
def test_a_record_that_does_not_fit_is_refused(record, words):
    with pytest.raises(UserError, match=words) as caught:
        record_fields(record, RECORD, "m")
    assert ". " not in str(caught.value)


def test_a_model_of_images_and_records(tmp_path):
    model = load_classifier(
        write_tiny(tmp_path / "r", tiny_network(kind="fusion", record=RECORD)), "cpu"
    )
    image = Volume(
        np.random.default_rng(0).normal(0, 1, (1, 70, 60)).astype(np.float32),
        np.eye(4),
        "x",
        {"window_center": 0.0, "window_width": 6.0},
    )
    full = diagnose(image, model, record={"age": 63, "dose": 2, "sex": "F", "side": "left"})
    other = diagnose(image, model, record={"age": 20, "dose": 2, "sex": "F", "side": "left"})
    none = diagnose(image, model)
    assert len({round(each.probabilities["pneumonia"], 7) for each in (full, other, none)}) == 3
    assert not any("state" in n for n in full.notes) and any(
        "does not state age, dose, sex, side" in n for n in none.notes
    )
    assert full.heat_map.array.shape == (1, 70, 60)


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
    assert (
        both.heat_map is not None
        and second.heat_map is None
        and any("no heat map" in n for n in second.notes)
    )
    assert prepare_input([None, two], model).batch["image"][0, 0].isnan().all()
    with pytest.raises(UserError, match="3 images were given"):
        diagnose([one, two, one], model)


# ---- channels with names ----

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


def test_what_older_bundles_say_of_their_input_is_written_as_it_was():
    old = {
        "kind": "radiograph",
        "modalities": ("CR", "DX", "RG"),
        "body_part": "CHEST",
        "views": ("PA", "AP"),
        "slices": 1,
        "longest": 0,
        "lungs": False,
    }
    assert (
        InputConfig().to_dict() == old
        and InputConfig.from_dict(old) == InputConfig()
        and InputConfig().names == ()
    )
    assert InputConfig.from_dict(
        json.loads(json.dumps(PET_CT.to_dict()))
    ) == PET_CT and PET_CT.names == ("image", "ct")
    with pytest.raises(UserError, match=r"InputConfig.channels is"):
        InputConfig(channels={"image": ()})


def test_each_channel_has_its_modality_and_a_missing_one_its_name(pet_ct, tmp_path):
    model, (pet, ct) = load_classifier(pet_ct, "cpu"), slices_of(tmp_path)
    both, alone = diagnose([pet, ct], model), diagnose(pet, model)
    assert both.probabilities != alone.probabilities and not any(
        "missing" in note for note in both.notes
    )
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
    assert "channel ct" in str(caught.value) and ". " not in str(caught.value)


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
        found = diagnose([noise((1, 70, 60), grid="fine"), ct], pet_ct, device="cpu")
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
