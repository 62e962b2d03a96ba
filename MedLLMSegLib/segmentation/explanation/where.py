"""How evidence is spread around the region that it is for: shares of it by distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.types import Array

NEAR_MM = 10.0
MOST = 0.5  # of the evidence: past that, a map is shown with a warning


@dataclass(frozen=True)
class Whereabouts:
    """Shares of all positive evidence, 0 to 1: inside the region, within `NEAR_MM` around it, and
    beyond. volume_inside, volume_near: the shares of the voxels that the network saw, so what an
    even map would have. None of all where there is no evidence.
    """

    inside: float | None
    near: float | None
    far: float | None
    volume_inside: float
    volume_near: float

    def sentence(self) -> str:
        """The shares as a sentence; "" where there is no evidence."""
        if self.inside is None or self.near is None or self.far is None:
            return ""
        return (
            f"{self.inside:.0%} of the evidence lies inside the structure, {self.near:.0%} within"
            f" {NEAR_MM:.0f} mm around it and {self.far:.0%} further away; spread evenly over what"
            f" the model saw, it would be {self.volume_inside:.0%}, {self.volume_near:.0%} and"
            f" {1 - self.volume_inside - self.volume_near:.0%}."
        )

    def warning(self) -> str:
        """A sentence for a map most of whose evidence lies far away; "" for any other."""
        if self.far is None or self.far <= MOST:
            return ""
        return (
            f"Most of the evidence lies more than {NEAR_MM:.0f} mm away from the structure: this"
            " map is no reason to trust the outline, and none to distrust it; judge it by the scan."
        )


def whereabouts(evidence: Array, region: NDArray[np.bool_], grid: Grid) -> Whereabouts:
    """evidence: [k, j, i], 0 or more. region: bool [k, j, i]. grid: of both."""
    near = (distance_mm(region, grid) <= NEAR_MM) & ~region
    volume_inside, volume_near = float(region.mean()), float(near.mean())
    total = float(evidence.sum(dtype=np.float64))
    if not total > 0:
        return Whereabouts(None, None, None, volume_inside, volume_near)
    inside = float(evidence[region].sum(dtype=np.float64)) / total
    around = float(evidence[near].sum(dtype=np.float64)) / total
    return Whereabouts(inside, around, max(0.0, 1 - inside - around), volume_inside, volume_near)


def distance_mm(region: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """[k, j, i]: how far each voxel's centre lies from the region's nearest; 0 inside."""
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(
        ~region, sampling=grid.spacing_mm
    )
    return distance
