"""Volumes are diagnosed slice by slice, or frame by frame."""

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError, Volume, diagnose, save_volume
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.diagnosis.slice_sequences import sequence_from_slices
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.noise_volumes import noise_volume
from Testing.helpers.tiny_classifier import tiny_network, volumes, write_tiny

CONFIG = PreparationConfig(size=64)


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
    volume, model = noise_volume((6, 40, 30)), load_classifier(slices_bundle, "cpu")
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
    assert found.heat_map.array.shape == (6, 40, 30)
    assert found.heat_map.array.max() == 1
    assert np.allclose(found.heat_map.ijk_to_ras, volume.ijk_to_ras)
    assert found.shown.shape == (40, 30)
    assert found.shown_slice == 3
    turned = diagnose(volume.with_array(volume.array[::-1].copy()), model)
    assert turned.probabilities != found.probabilities  # the order of slices counts
    save_volume(noise_volume((6, 40, 30), grid="fine"), tmp_path / "x.nii.gz")
    assert diagnose(tmp_path / "x.nii.gz", model).heat_map.array.shape == (6, 40, 30)


def test_frames_are_diagnosed_from_a_list_and_from_one_series(frames_bundle):
    frames, model = (
        [noise_volume((5, 40, 30), n) for n in range(2)],
        load_classifier(frames_bundle, "cpu"),
    )
    found = diagnose(frames, model)
    series = diagnose(
        Volume(np.stack([f.array for f in frames]), frames[0].ijk_to_ras, "cine"), model
    )
    assert series.probabilities == found.probabilities
    assert found.heat_map.array.shape == (5, 40, 30)
    assert diagnose(frames[::-1], model).probabilities != found.probabilities
    with pytest.raises(UserError, match=r"is one volume, and the model .* looks at several"):
        diagnose(frames[0], model)


def test_what_a_model_of_volumes_refuses(slices_bundle, frames_bundle, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, (80, 80)).astype(np.uint16)
    path = write_dicom(tmp_path / "x.dcm", pixels, Modality="CR")
    for image, options, words in (
        (path, {}, "is an X-ray image by its DICOM tags .CR., and the model .* takes CT images"),
        ([noise_volume((4, 40, 30))] * 2, {}, "takes one at a time"),
        (noise_volume((4, 40, 30)), {"window": 1}, "no lung mask and no choice of a window"),
        (Volume(np.zeros((4, 40, 30)), np.eye(4), "air"), {}, "same value"),
        (noise_volume((2, 4, 40, 30)), {}, "series of 2"),
    ):
        with pytest.raises(UserError, match=words):
            diagnose(image, slices_bundle, device="cpu", **options)
