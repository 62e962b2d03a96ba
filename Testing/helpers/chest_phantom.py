"""A chest of boxes and balls as a CT in HU, with a nodule whose density is known."""

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.studies.nodules.scans import Scan, made_scan

SHAPE = (40, 110, 130)  # voxels of 3 x 2 x 2 mm
SPACING = (3.0, 2.0, 2.0)
LUNG_HU, TISSUE_HU, NODULE_HU = -850, 40, 76
NODULE_AT, NODULE_MM = (20, 55, 38), 9.0


def chest(lungs: bool = True) -> Volume:
    """Air, a body, two lungs, a vessel in the left one, and a nodule of 18 mm in the right."""
    rng = np.random.default_rng(0)
    k, j, i = np.indices(SHAPE)
    hu = np.full(SHAPE, -1000.0)
    body = ((j - 55) / 45) ** 2 + ((i - 65) / 58) ** 2 < 1
    hu[body] = TISSUE_HU
    if lungs:
        for middle in (38, 92):
            hu[((j - 55) / 30) ** 2 + ((i - middle) / 20) ** 2 + ((k - 20) / 18) ** 2 < 1] = LUNG_HU
        hu[5:35, 54:57, 91:94] = TISSUE_HU
        hu[nodule()] = NODULE_HU
    blurred = ndimage.gaussian_filter(hu, (0, 0.5, 0.5)) + rng.normal(0, 10, SHAPE)
    return Volume(np.round(blurred).astype(np.int16), np.diag([2.0, 2.0, 3.0, 1.0]), "phantom")


def nodule():
    """Where it is, bool [k, j, i]."""
    axes = np.indices(SHAPE)
    off = sum(((a - at) * mm) ** 2 for a, at, mm in zip(axes, NODULE_AT, SPACING, strict=True))
    return off < NODULE_MM**2


def chest_scan() -> Scan:
    """With its lungs found and its nodule measured."""
    return made_scan("phantom", chest(), nodule(), nodule=True)
