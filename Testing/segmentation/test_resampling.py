"""Tensors from one grid to another: as the core's arrays are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from MedLLMSegLib.core import resampling as core
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.segmentation import resampling as module
from MedLLMSegLib.segmentation.resampling import resample, resample_on_device
from Testing.helpers.grids import GRIDS, make_grid
from Testing.helpers.random_grids import grids

TYPES = [torch.float16, torch.float32, torch.float64, torch.uint8, torch.int16, torch.bool]
WITHOUT_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
DEVICES = ["cpu", pytest.param("cuda", marks=(pytest.mark.gpu, WITHOUT_CUDA))]


def noise(shape, kind, seed=0):
    values = torch.from_numpy(np.random.default_rng(seed).random(shape))
    return values > 0.5 if kind == torch.bool else (values * 100).to(kind)


def check(image, source, target, outside, average, device="cpu"):
    channels = image if image.ndim == 4 else image[None]
    arrays = [
        core.resample(channel.numpy(), source, target, outside=outside, average=average)
        for channel in channels
    ]
    expected = np.stack(arrays) if image.ndim == 4 else arrays[0]
    for way in (resample, resample_on_device):
        ours = way(image.to(device), source, target, outside, average).cpu()
        assert ours.dtype == torch.float32
        assert ours.shape == expected.shape
        assert np.abs(ours.numpy() - expected).max(initial=0) <= 100 * 1e-5


@given(
    source=grids(),
    target=grids(),
    outside=st.sampled_from((None, -7.0)),
    average=st.booleans(),
    kind=st.sampled_from(TYPES),
    slab=st.sampled_from((1, 50, 10_000)),
)
@settings(max_examples=100, deadline=None)
def test_parallel_grids_as_in_the_core(source, target, outside, average, kind, slab):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_VOXELS_AT_ONCE", slab)
        check(noise(source.shape, kind), source, target, outside, average)


@given(
    source=grids(degrees=60),
    target=grids(degrees=60),
    outside=st.sampled_from((None, -7.0)),
    average=st.booleans(),
    kind=st.sampled_from(TYPES),
    slab=st.sampled_from((1000, 10_000)),
)
@settings(max_examples=60, deadline=None)
def test_turned_grids_as_in_the_core(source, target, outside, average, kind, slab):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_VOXELS_AT_ONCE", slab)
        check(noise(source.shape, kind), source, target, outside, average)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("target", ["anisotropic", "permuted (2, 0, 1)", "oblique"])
def test_channels_are_resampled_alike(target, device):
    source, target = GRIDS["0.8 mm"], GRIDS[target]
    check(noise((3, *source.shape), torch.int16), source, target, None, True, device)


def test_nothing_gives_nothing():
    empty = Grid((0, 4, 5), np.eye(4))
    target = make_grid(degrees=(10, 20, 30))
    for way in (resample, resample_on_device):
        assert (way(torch.zeros(empty.shape), empty, target, outside=2.0) == 2).all()
        assert way(torch.zeros((2, *target.shape)), target, empty).shape == (2, *empty.shape)


def test_half_precision_of_networks_is_read():
    grid, finer = make_grid(spacing=(4.0,) * 3), make_grid(spacing=(3.0,) * 3)
    image = noise(grid.shape, torch.bfloat16)
    assert torch.equal(resample(image, grid, finer), resample(image.float(), grid, finer))
