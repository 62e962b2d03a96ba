"""A scan as another scanner might give it: other greys, a slow bias, blur, noise, and a crop whose
faces lie elsewhere.

A segmenter that learnt from one scanner meets others every day, and most of these are no reason for
an alarm. So the threshold of its domain lies beyond them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from MedLLMSegLib.core.geometry import sub_grid
from MedLLMSegLib.core.volume import Volume

GAMMA, BLUR_MM, BIAS, NOISE, CUT = 0.5, 1.2, 0.3, 0.05, 0.1  # the most of each


def rescanned(volume: Volume, seed: tuple[int, ...]) -> Volume:
    """The same scene, drawn by the seed.

    Greys between the 0.5th and 99.5th percentile are raised to a power between 1 / (1 + GAMMA) and
    1 + GAMMA, multiplied by a ramp of up to BIAS either way, blurred by up to BLUR_MM along each
    axis, and get noise of up to NOISE of their range. Up to CUT of each axis is cut off at either
    end.
    """
    rng = np.random.default_rng(seed)
    values = volume.array.astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    values = ((values - low) / max(float(high - low), 1e-6)).clip(0, 1)
    values = values ** np.exp(rng.uniform(-1, 1) * np.log1p(GAMMA))
    values = values * np.exp(_ramp(volume.array.shape, rng))
    sigma = [rng.uniform(0, BLUR_MM) / spacing for spacing in volume.spacing_mm]
    values = gaussian_filter(values, sigma)
    values = values + rng.uniform(0, NOISE) * rng.normal(size=values.shape)
    k, j, i = (_kept(length, rng) for length in values.shape)
    box = (k, j, i)
    array = np.ascontiguousarray(values[box], dtype=np.float32)
    return Volume(array, sub_grid(volume.grid, box).ijk_to_ras, volume.name)


def _ramp(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """From -BIAS to BIAS at most, along a direction of its own."""
    axes = [np.linspace(-1, 1, length, dtype=np.float32) for length in shape]
    slopes = rng.uniform(-BIAS, BIAS, 3) / 3
    grids = np.meshgrid(*axes, indexing="ij", sparse=True)
    ramp: NDArray[np.float32] = sum(
        (np.float32(slope) * axis for slope, axis in zip(slopes, grids, strict=True)),
        np.zeros(shape, np.float32),
    )
    return ramp


def _kept(length: int, rng: np.random.Generator) -> slice:
    most = int(CUT * length)
    return slice(int(rng.integers(0, most + 1)), length - int(rng.integers(0, most + 1)))
