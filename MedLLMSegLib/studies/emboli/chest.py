"""A chest CT on the grid that the study works on, and where its lungs are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, covering_grid
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume, check_scan

SPACING_MM = 1.5  # of the grid that emboli are looked for on
COARSE_MM = 3.0  # enough for the contrast
AIR_HU = -500.0
AROUND_HU = -940.0  # the median of lungs lies above, that of the air around a body below
ACROSS_HU = -900.0  # the same for what reaches from side to side of a slice
SLICE_ML = 0.6  # of an air space in a slice
LARGE_ML = 300.0  # of a lung, or both together
LUNGS_ML = 500.0  # of both, below which a scan does not show the chest
IN_PLANE = ndimage.generate_binary_structure(2, 1).astype(int)


@dataclass(frozen=True, eq=False)
class Chest:
    """hu: float32 [k, j, i], i to the right, j to the front, k upwards. lungs: bool, their air and
    what it encloses, vessels included. air: bool, their air.
    """

    hu: Array
    grid: Grid
    air: Array
    lungs: Array

    @property
    def spacing_mm(self) -> float:
        return self.grid.spacing_mm[0]

    def on_grid(self, labels: Volume) -> Array:
        """Where a label map is not 0, bool on this grid. Raises `UserError` for an empty one."""
        mask: Array = resample(labels.array, labels.grid, self.grid, order=0, outside=0) > 0
        if not mask.any():
            raise UserError(
                f'"{labels.name}" marks nothing within the scan; give the label map that was made'
                " of this scan."
            )
        return mask


def read_chest(volume: Volume, spacing_mm: float = SPACING_MM) -> Chest:
    """A CT along the axes of the body. Raises `UserError` for what is no CT of a chest."""
    check_scan(volume)
    grid = covering_grid(volume.grid, spacing_mm)
    hu = resample(volume.array, volume.grid, grid, outside=-1024)
    if volume.array.min() > AIR_HU:
        raise UserError(
            f'"{volume.name}" has no value below {volume.array.min():.0f}, and air in a CT has'
            " about -1000 HU; load the CT in Hounsfield units."
        )
    air = lung_air(hu, spacing_mm)
    if (found := _millilitres(air, spacing_mm)) < LUNGS_ML:
        raise UserError(
            f'"{volume.name}" shows {found:.0f} ml of lung, and {LUNGS_ML:.0f} are needed; load a'
            " CT of the chest."
        )
    return Chest(hu, grid, air, closed(air, 9.0, spacing_mm))


def lung_air(hu: Array, spacing_mm: float) -> Array:
    """Bool: the air of the lungs.

    Told from the air around a body, which is emptier. Slice by slice first, as the windpipe may
    lead there.
    """
    labels, count = ndimage.label(hu < AIR_HU, np.stack([0 * IN_PLANE, IN_PLANE, 0 * IN_PLANE]))
    if not count:
        return np.zeros(hu.shape, bool)
    large = np.bincount(labels.ravel())[1:] * spacing_mm**3 / 1000 > SLICE_ML
    numbers = np.flatnonzero(large) + 1
    limits = np.full(count + 1, AROUND_HU)
    limits[np.intersect1d(labels[:, :, 0], labels[:, :, -1])] = ACROSS_HU
    inner = np.zeros(count + 1, bool)
    inner[numbers] = ndimage.median(hu, labels, numbers) > limits[numbers]
    spaces, _ = ndimage.label(inner[labels])
    volumes = np.bincount(spaces.ravel()) * spacing_mm**3 / 1000
    volumes[0] = 0
    lungs: Array = (volumes >= LARGE_ML)[spaces]
    return lungs


def grown(mask: Array, mm: float, spacing_mm: float) -> Array:
    """The mask and all within a distance of it."""
    if not mask.any():
        return mask
    near: Array = ndimage.distance_transform_edt(~mask, spacing_mm) <= mm
    return near


def shrunk(mask: Array, mm: float, spacing_mm: float) -> Array:
    """What of the mask is further than this from its edge; the scan's border is none."""
    return ~grown(~mask, mm, spacing_mm)


def closed(mask: Array, mm: float, spacing_mm: float) -> Array:
    """The mask without gaps and dents that a ball does not fit into."""
    return shrunk(grown(mask, mm, spacing_mm), mm, spacing_mm)


def opened(mask: Array, mm: float, spacing_mm: float) -> Array:
    """The mask without what is too thin for a ball."""
    return grown(shrunk(mask, mm, spacing_mm), mm, spacing_mm) & mask


def _millilitres(mask: Array, spacing_mm: float) -> float:
    return float(mask.sum()) * spacing_mm**3 / 1000
