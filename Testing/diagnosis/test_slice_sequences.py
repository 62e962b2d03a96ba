"""Volumes as sequences of slices or frames, and maps back on the voxels."""

import numpy as np
import pytest

from MedLLMSegLib import UserError, Volume
from MedLLMSegLib.diagnosis.inputs.sequence_input import maps_onto_slices
from MedLLMSegLib.diagnosis.slice_sequences import (
    evenly,
    sequence_from_frames,
    sequence_from_slices,
)
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from Testing.helpers.noise_volumes import noise_volume

CONFIG = PreparationConfig(size=64)


@pytest.mark.parametrize(
    "count, wanted, found",
    ((5, 5, [0, 1, 2, 3, 4]), (10, 5, [1, 3, 5, 7, 9]), (9, 3, [1, 4, 7]), (4, 9, [0, 1, 2, 3])),
)
def test_steps_are_evenly_spaced(count, wanted, found):
    assert evenly(count, wanted).tolist() == found
    assert evenly(2, 5, repeat=True).tolist() == [0, 0, 1, 1, 1]


def test_slices_of_a_volume_are_steps_that_stay_comparable():
    volume = noise_volume((7, 40, 30))
    volume.array[3] += 60
    steps = sequence_from_slices(volume, CONFIG)
    assert steps.images.shape == (7, 1, 64, 64)
    assert steps.images.dtype == np.float32
    assert steps.slices[:, 0].tolist() == list(range(7))
    means = steps.images.mean((1, 2, 3))
    # not normalised one by one
    assert means.argmax() == 3
    assert means[3] > means[[0, 1, 2, 4, 5, 6]].max() + 0.5
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
    frames = [noise_volume((6, 40, 30), n) for n in range(3)]
    steps = sequence_from_frames(frames, CONFIG, slices=2)
    assert steps.images.shape == (3, 2, 64, 64)
    assert steps.slices.tolist() == [[1, 4]] * 3
    assert steps.volumes.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert np.allclose(
        steps.images[2, 1], sequence_from_slices(frames[2], CONFIG).images[4, 0], atol=1e-6
    )
    with pytest.raises(UserError, match="the frames of a sequence need one grid"):
        sequence_from_frames([frames[0], noise_volume((5, 40, 30))], CONFIG)


@pytest.mark.parametrize("shape", ((3, 40, 30), (3, 30, 40)))
def test_a_map_of_a_step_comes_back_to_its_slice(shape):
    volume = noise_volume(shape)
    volume.array[1, 25, 12] = 1e3
    volume.array[1, 24:27, 11:14] += 300
    steps = sequence_from_slices(volume, CONFIG)
    back = steps.to_slice(steps.images[1, 0])
    assert back.shape == shape[1:]
    assert np.abs(np.array(np.unravel_index(back.argmax(), back.shape)) - (25, 12)).max() <= 1
    maps = np.zeros((3, 8, 8))
    maps[1, 3, 4] = 1
    whole = maps_onto_slices(maps, steps, shape[0])
    assert whole.shape == shape
    assert whole[1].max() > 0.5
    assert whole[[0, 2]].max() == 0
