"""A made-up chest CT: two lungs, between them a heart and an artery whose branches fill them."""

from functools import cache

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.studies.emboli.chest import read_chest
from MedLLMSegLib.studies.emboli.contrast import contrast_of
from MedLLMSegLib.studies.emboli.scans import Patient
from MedLLMSegLib.studies.emboli.vessels import pulmonary_vessels

SHAPE = (72, 72, 112)  # (k, j, i), i to the right, j to the front, k upwards
GRID = np.diag([1.5, 1.5, 1.5, 1.0])
ARTERY_HU, HEART_HU = 500.0, 400.0


def chest_volume(blood_hu=ARTERY_HU, heart_hu=HEART_HU, seed=0):
    """A CT with soft edges and noise of 10 HU."""
    hu = np.full(SHAPE, -1000.0)
    k, j, i = np.indices(SHAPE)
    hu[:, 3:69, 3:109] = 40.0
    hu[:, 6:66, 6:46] = hu[:, 6:66, 66:106] = -850.0
    hu[(k - 18) ** 2 + (j - 40) ** 2 + (i - 56) ** 2 < 9.5**2] = heart_hu
    hu[artery_mask() | branches()] = blood_hu
    hu = ndimage.gaussian_filter(hu, 0.6)
    noise = np.random.default_rng(seed).normal(0, 10, SHAPE)
    return Volume(np.round(hu + noise).astype(np.int16), GRID, "made-up chest")


def artery_mask():
    """The trunk, from lung to lung."""
    k, j, i = np.indices(SHAPE)
    return ((k - 40) ** 2 + (j - 40) ** 2 <= 5**2) & (i >= 36) & (i < 76)


def branches():
    """A wide tube outwards on each side, with two upright ones on it."""
    k, j, i = np.indices(SHAPE)
    out = ((k - 40) ** 2 + (j - 40) ** 2 <= 2.6**2) & (i >= 14) & (i < 98)
    for place in (20, 32, 80, 92):
        out |= ((i - place) ** 2 + (j - 40) ** 2 <= 2.6**2) & (k > 8) & (k < 64)
    return out


def artery_label():
    return Volume(artery_mask().astype(np.uint8), GRID, "artery")


@cache
def patient():
    """The chest as the study holds it; made once."""
    chest = read_chest(chest_volume())
    label = chest.on_grid(artery_label())
    contrast = contrast_of(chest, label)
    vessels = pulmonary_vessels(chest, label, contrast.artery_hu)
    return Patient(chest, vessels, contrast, 0.75)
