"""Insertion and deletion curves of a map: how a structure's probability rises and falls when the
voxels that the map ranks first are shown or hidden.

Deletion hides them in the scan; a good map makes the probability fall early, so its area is small.
Insertion shows them in a scan of which all else is hidden; a good map has a large area (Petsiuk et
al., RISE, BMVC 2018, with voxels counted in multiples of the structure's own volume). Hidden is
blurred: a value that no scan has would itself be a feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.types import Array

MULTIPLES = (0.5, 1.0, 2.0, 4.0)  # of the structure's volume
BLUR_MM = 8.0  # standard deviation

# a prepared array [k, j, i] -> mean probability of the structure over its region
Score = Callable[[Array], float]


@dataclass(frozen=True)
class Curves:
    """Probabilities after each of `MULTIPLES`: shown alone, and hidden."""

    insertion: tuple[float, ...]
    deletion: tuple[float, ...]

    @property
    def insertion_area(self) -> float:
        """The mean over the steps, which are even on a logarithmic axis; higher is better."""
        return float(np.mean(self.insertion))

    @property
    def deletion_area(self) -> float:
        """Likewise; lower is better."""
        return float(np.mean(self.deletion))


def blurred(array: Array, grid: Grid) -> NDArray[np.float32]:
    """The array [k, j, i] of which nothing can be told any more."""
    sigma_vox = [BLUR_MM / spacing for spacing in grid.spacing_mm]
    hidden: NDArray[np.float32] = ndimage.gaussian_filter(array, sigma_vox, mode="nearest")
    return hidden


def curves(array: Array, hidden: Array, order: NDArray[np.intp], size: int, score: Score) -> Curves:
    """The curves of one map.

    array, hidden: [k, j, i], the scan and what it is hidden with. order: all voxels (flat), first
    those that the map ranks highest. size: voxels of the structure.
    """
    shown, gone = [], []
    for multiple in MULTIPLES:
        first = order[: max(1, round(multiple * size))]
        inserted, deleted = hidden.copy(), array.copy()
        inserted.flat[first], deleted.flat[first] = array.flat[first], hidden.flat[first]
        shown.append(score(inserted))
        gone.append(score(deleted))
    return Curves(tuple(shown), tuple(gone))


def ranked(values: Array, seed: int = 0) -> NDArray[np.intp]:
    """The voxels of a map, highest first; equal ones in random order."""
    ties = np.random.default_rng(seed).permutation(values.size)
    order: NDArray[np.intp] = np.lexsort((ties, -values.ravel()))
    return order
