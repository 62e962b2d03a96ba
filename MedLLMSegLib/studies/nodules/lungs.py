"""The lungs of a chest CT, by thresholds and connected parts."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume, check_scan

AIR_HU = -400.0  # below it is lung or air
SMALLEST_PART_L, LEAST_L, MOST_L = 0.3, 0.8, 12.0  # litres
CLOSED_MM = 12.0  # vessels and nodules up to twice as wide are filled


def find_lungs(volume: Volume) -> Array:
    """Lungs with their vessels and nodules, bool [k, j, i]; the large airways are among them.

    volume: a CT in HU whose axes i and j lie in the slice, the body within its borders. Raises
    `UserError` where it is no chest CT.
    """
    check_scan(volume)
    hu, spacing = volume.array, volume.spacing_mm
    if hu.min() > -500 or hu.max() < 0:
        raise UserError(
            f'"{volume.name}" has values from {hu.min():g} to {hu.max():g}, and those of a CT in HU'
            " begin near -1000 in air; give a chest CT in Hounsfield units."
        )
    inside = _inner_air(hu < AIR_HU)
    litre = float(np.prod(spacing)) / 1e6  # of a voxel
    parts, count = ndimage.label(inside)
    litres = ndimage.sum_labels(inside, parts, range(1, count + 1)) * litre
    lungs: Array = np.isin(parts, 1 + np.flatnonzero(litres >= SMALLEST_PART_L))
    found = float(lungs.sum() * litre)
    if not LEAST_L <= found <= MOST_L:
        raise UserError(
            f'"{volume.name}" has {found:.1f} litres of air inside the body, and the lungs of an'
            f" adult hold {LEAST_L:g} to {MOST_L:g}; give a CT of the whole chest."
        )
    return _closed(lungs, spacing)


def _inner_air(air: Array) -> Array:
    """Air that does not reach the sides of the scan."""
    parts, _ = ndimage.label(air)
    sides = (parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1])
    outer = np.unique(np.concatenate([side.ravel() for side in sides]))
    inner: Array = air & ~np.isin(parts, outer)
    return inner


def _closed(lungs: Array, spacing_mm: tuple[float, float, float]) -> Array:
    """Each slice closed by a disc, through distances: grown, and shrunk again."""
    closed = np.zeros_like(lungs)
    pad = int(np.ceil(CLOSED_MM / min(spacing_mm[1:]))) + 1
    for k, plane in enumerate(lungs):
        if not plane.any():
            continue
        wide = np.pad(plane, pad)
        grown = ndimage.distance_transform_edt(~wide, spacing_mm[1:]) <= CLOSED_MM
        shrunk = ndimage.distance_transform_edt(grown, spacing_mm[1:]) > CLOSED_MM
        closed[k] = (shrunk | wide)[pad:-pad, pad:-pad]
    return closed
