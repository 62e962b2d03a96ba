"""Onto the network's grid: what is read around a crop, and what comes out of it."""

import numpy as np
import pytest

from MedLLMSegLib.core.geometry import Grid, centred_grid, transform_points
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.segmentation.prepare import normalise, prepare

AS_IT_IS = (-1e9, 1e9, 0.0, 1.0)  # grey values: nothing clipped, mean 0, standard deviation 1


def positions(grid: Grid) -> np.ndarray:
    """RAS of every voxel centre: (k, j, i, 3)."""
    indices = np.moveaxis(np.indices(grid.shape)[::-1], 0, -1)  # (k, j, i, 3) of i, j, k
    return transform_points(grid.ijk_to_ras, indices.reshape(-1, 3)).reshape(*grid.shape, 3)


@pytest.mark.parametrize("spacing_mm", [0.3, 0.4, 0.45, 0.7, 1.0, 1.6])
@pytest.mark.parametrize("offset_mm", [0.0, 0.13, 0.5])
def test_a_ramp_stays_a_ramp_up_to_the_faces_of_the_crop(spacing_mm, offset_mm):
    """Averaging and interpolating a linear ramp are exact, if enough of the scan is read around."""
    scan = centred_grid((0, 0, 0), (90, 96, 101), spacing_mm)
    crop = centred_grid((offset_mm, -offset_mm, 2 * offset_mm), (9, 10, 11), 1.0)
    slope = np.array([3.0, -2.0, 1.0])
    array, _ = prepare(
        Volume((positions(scan) @ slope).astype(np.float32), scan.ijk_to_ras), crop, AS_IT_IS
    )
    assert np.abs(array - positions(crop) @ slope).max() < 1e-2


def plainly_normalised(array, grey=None):
    if grey is not None:
        low, high, mean, deviation = grey
        return (np.clip(array, low, high) - mean) / deviation
    low, high = np.percentile(array, (0.5, 99.5))
    clipped = np.clip(array, low, high) if high > low else array
    return (clipped - clipped.mean()) / max(clipped.std(), 1e-6)


@pytest.mark.parametrize("grey", [None, (-50.0, 90.0, 20.0, 35.0)])
@pytest.mark.parametrize("kind", ["i2", "f4", "f8"])
@pytest.mark.parametrize("offset", [0, 9000])
def test_grey_values_are_clipped_and_scaled(offset, kind, grey):
    values = np.random.default_rng(0).normal(scale=60, size=(80, 70, 61))
    values[:, :20] = 0
    array = (values + offset).astype(kind).transpose(2, 0, 1)
    kept = array.copy()
    normalised = normalise(array, grey)
    assert normalised.dtype == np.float32
    assert np.abs(normalised - plainly_normalised(array.astype(float), grey)).max() < 2e-4
    assert np.array_equal(array, kept)


def test_two_values_of_which_one_is_rare_are_scaled_without_clipping():
    array = np.zeros((10, 20, 30), np.float32)
    array[3, 4, 5] = 9
    assert normalise(array) == pytest.approx(plainly_normalised(array), rel=1e-5)
