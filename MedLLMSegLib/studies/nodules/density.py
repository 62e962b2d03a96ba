"""What is measured in a scan: the density and texture of its nodule, and its point spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

MAD_TO_SD = 1.4826  # of a normal distribution
FEWEST = 20  # voxels of a core
SMOOTHEST = 0.95  # correlation of neighbours: above it, no length is known
RAYS_MM = 30.0  # how far on each side of the middle the skin is looked at


@dataclass(frozen=True)
class Density:
    """hu: median of a nodule's core. sd_hu: of its voxels, from their median absolute deviation, as
    a core may hold air. texture_mm: the SD of the Gaussian that makes white noise as smooth.
    """

    hu: float
    sd_hu: float
    texture_mm: float


def measure_density(hu: Array, nodule: Array, spacing_mm: tuple[float, float, float]) -> Density:
    """Of a nodule without its outermost 2 mm in the slice. hu, nodule: [k, j, i].

    Raises `UserError` where too few voxels are left.
    """
    core = np.stack(
        [ndimage.distance_transform_edt(plane, spacing_mm[1:]) > 2.0 for plane in nodule > 0]
    )
    if core.sum() < FEWEST:
        raise UserError(
            f"The core of the nodule has {int(core.sum())} voxels, and {FEWEST} are needed to"
            " measure its density; give a larger nodule."
        )
    middle = float(np.median(hu[core]))
    sd = MAD_TO_SD * float(np.median(np.abs(hu[core] - middle)))
    off = np.clip(hu - middle, -3 * sd, 3 * sd)
    pairs = [
        (off[one] * off[other])[core[one] & core[other]]
        for one, other in (
            (np.s_[:, 1:], np.s_[:, :-1]),
            (np.s_[:, :, 1:], np.s_[:, :, :-1]),
        )
    ]
    alike = float(np.concatenate(pairs).mean()) / max(float((off[core] ** 2).mean()), 1e-6)
    # White noise through a Gaussian of SD s correlates by exp(-d^2 / 4 s^2) at the distance d.
    alike = min(max(alike, 1e-3), SMOOTHEST)
    return Density(middle, sd, float(spacing_mm[2] / (2 * np.sqrt(-np.log(alike)))))


def measure_point_spread(volume: Volume) -> float:
    """SD in mm of the in-plane blur, from the step between air and skin on the front of the chest.

    From the front, in the columns around the middle of the body: each ray is aligned at half the
    height of its step, and the SD is half of what lies between 16 % and 84 % of the mean edge (an
    error function's). Clothes and hair widen it.
    """
    hu, step = _from_front(volume), volume.spacing_mm[1]
    rays = [
        ray for plane in hu[hu.shape[0] // 4 : -(hu.shape[0] // 4)] for ray in _edges(plane, step)
    ]
    if len(rays) < FEWEST:
        raise UserError(
            f"The skin was found in {len(rays)} places, and {FEWEST} are needed to measure the"
            " scan's blur; give a CT with air in front of the body."
        )
    places, values = (np.concatenate(part) for part in zip(*rays, strict=True))
    centres = np.arange(-4.0, 4.01, 0.25)
    near = [values[np.abs(places - centre) < 0.25] for centre in centres]
    seen = np.array([bool(len(each)) for each in near])
    mean = np.maximum.accumulate([np.median(each) for each in near if len(each)])
    low, high = (float(np.interp(share, mean, centres[seen])) for share in (0.16, 0.84))
    return (high - low) / 2


def _from_front(volume: Volume) -> Array:
    """[k, j, i] with j from front to back. Raises `UserError` where another axis leads there."""
    forward = volume.ijk_to_ras[1, :3]  # of a step along i, j, k towards the front
    if np.abs(forward).argmax() != 1:
        raise UserError(
            f'The rows of "{volume.name}" do not follow each other from front to back, and axial'
            " slices are needed to measure its blur; give a CT in axial slices."
        )
    return volume.array[:, ::-1] if forward[1] > 0 else volume.array


def _edges(plane: Array, step: float) -> list[tuple[Array, Array]]:
    """(mm from the edge, height from 0 to 1) of each ray from the front."""
    body = plane > -300
    columns = np.flatnonzero(body.sum(axis=0) > 0.25 * plane.shape[0])
    if not len(columns):
        return []
    middle, reach = int(np.median(columns)), int(RAYS_MM / step)
    found = []
    for ray in plane[:, max(0, middle - reach) : middle + reach].T.astype(float):
        at = int(np.argmax(ray > -500))
        if not 6 <= at < len(ray) - 6:
            continue
        air, tissue = ray[at - 6 : at - 3].mean(), ray[at + 2 : at + 4].mean()
        if air > -900 or not -200 < tissue < 150:
            continue
        heights = (ray - air) / (tissue - air)
        crossing = at - 1 + (0.5 - heights[at - 1]) / max(1e-6, heights[at] - heights[at - 1])
        near = np.arange(at - 3, at + 4)
        found.append(((near - crossing) * step, heights[near]))
    return found
