"""A second look at what a first look over the whole scan has found.

A network that normalises an image by the image's own mean and deviation sees tissue best where the
image holds what its training's samples held: a brain that fills it, not a head in much air.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedLLMSegLib.core.geometry import Box, Grid, sub_grid
from MedLLMSegLib.core.types import Json

from .clean import largest_component

MULTIPLE_VOX = 16  # a size that networks pad nothing to
LARGEST_SHARE = 0.8  # of the scan: a look at more of it would find the same


def closer_grid(winner: NDArray[np.uint8], grid: Grid, settings: Json) -> Grid | None:
    """The part of a grid around what was found in it; None where a second look is not worth it.

    winner: uint8 [k, j, i] on the grid, 0 for the background; its largest connected part counts.
    settings: a bundle's "preprocessing", whose "closer_look_mm" is the margin on all sides; without
    it there is no second look.
    """
    box = closer_box(winner, grid.spacing_mm, settings)
    return None if box is None else sub_grid(grid, box)


def closer_box(
    winner: NDArray[np.uint8], spacing_mm: Sequence[float], settings: Json
) -> Box | None:
    """The voxels (k, j, i) of that part; None as `closer_grid`. spacing_mm: along (k, j, i)."""
    margin_mm = settings.get("closer_look_mm")
    if margin_mm is None or not winner.any():
        return None
    found = largest_component(winner > 0)
    (box,) = ndimage.find_objects(found, max_label=1)
    k, j, i = (
        _widened(span, float(margin_mm) / spacing_mm, length)
        for span, spacing_mm, length in zip(box, spacing_mm, winner.shape, strict=True)
    )
    voxels = prod(span.stop - span.start for span in (k, j, i))
    return (k, j, i) if voxels < LARGEST_SHARE * prod(winner.shape) else None


def _widened(span: slice, margin_vox: float, length: int) -> slice:
    """A span with its margins, in whole multiples of `MULTIPLE_VOX`, within an axis."""
    needed = span.stop - span.start + 2 * margin_vox
    size = min(length, int(-(-needed // MULTIPLE_VOX)) * MULTIPLE_VOX)
    start = (span.start + span.stop - size) // 2
    start = min(max(0, start), length - size)
    return slice(start, start + size)
