"""The scan with clots in it, many times over: what trains, what chooses and what tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.types import Array

from .chest import Chest
from .clots import Clot, clot_places, draw_clots, insert
from .contrast import Contrast
from .vessels import Vessels, low_voxels, searched_voxels
from .windows import windowed

BESIDE_VOX = 1  # a call within this of a clot hits it
AWAY_VOX = 3  # what trains as "no embolus" is further than this from each


@dataclass(frozen=True, eq=False)
class Patient:
    """The one scan, and what was found in it."""

    chest: Chest
    vessels: Vessels
    contrast: Contrast
    blur_mm: float

    def with_clots(self, zone: Array, counts: dict[str, int], seed: int) -> TouchedScan:
        """The scan with clots drawn in a zone; untouched where none are asked for."""
        spacing_mm = self.chest.spacing_mm
        places = clot_places(self.vessels.arteries, self.vessels.label, zone, spacing_mm)
        clots = draw_clots(places, counts, np.random.default_rng(seed))
        hu = insert(self.chest.hu, clots, self.contrast.artery_hu, self.blur_mm, spacing_mm)
        return TouchedScan(self, np.round(hu).astype(np.int16), tuple(clots))


@dataclass(frozen=True, eq=False)
class TouchedScan:
    """hu: int16 [k, j, i], with the clots in it."""

    patient: Patient
    hu: Array
    clots: tuple[Clot, ...]

    @cached_property
    def images(self) -> Array:
        """As the networks see it."""
        return windowed(self.hu, self.patient.contrast)

    @cached_property
    def hit(self) -> Array:
        """uint8 [k, j, i]: the number, from 1, of the clot that a call there hits; 0 for none."""
        own = self._numbers()
        width = 2 * BESIDE_VOX + 1
        beside: Array = ndimage.maximum_filter(own, size=width)
        return np.where(own > 0, own, beside)

    @cached_property
    def low(self) -> Array:
        """Bool [k, j, i]: where windows that train have their middle."""
        return low_voxels(self.hu, self.patient.vessels, self.patient.chest.spacing_mm)

    @cached_property
    def searched(self) -> Array:
        """Bool [k, j, i]: where emboli are looked for in this scan."""
        return searched_voxels(self.hu, self.patient.vessels, self.patient.chest.spacing_mm)

    def positives(self, zone: Array) -> list[Array]:
        """Of each clot that is there, its (n, 3) voxels in a zone that are looked at."""
        looked_at = self.low & zone
        found = [clot.voxels[looked_at[tuple(clot.voxels.T)]] for clot in self.clots]
        return [places for places in found if len(places)]

    def negatives(self, zone: Array) -> Array:
        """(n, 3): places in a zone that are looked at, and are away from all clots."""
        near = ndimage.maximum_filter(self._numbers(), size=2 * AWAY_VOX + 1)
        return np.argwhere(self.low & zone & (near == 0))

    def _numbers(self) -> Array:
        own = np.zeros(self.hu.shape, np.uint8)
        for number, clot in enumerate(self.clots, 1):
            own[tuple(clot.voxels.T)] = number
        return own
