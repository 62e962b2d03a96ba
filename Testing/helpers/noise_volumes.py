"""Volumes of noise on grids of every kind."""

import numpy as np

from MedLLMSegLib import Volume
from Testing.helpers.grids import GRIDS


def noise_volume(shape, seed=0, name="scan", grid="oblique, flipped, permuted, anisotropic"):
    """grid: a key of `GRIDS`."""
    return Volume(
        np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32),
        GRIDS[grid].ijk_to_ras,
        name,
    )
