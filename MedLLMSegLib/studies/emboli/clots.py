"""Filling defects inserted into contrast-filled arteries.

None is an embolus that anyone had: shape, place and size are drawn; HU are those measured in emboli
(Wittram et al., Radiology 2005: 33 HU in acute and 87 HU in chronic ones, as the means).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.types import Array

CENTRAL, SEGMENTAL = "central", "segmental"
HU = (30.0, 90.0)
RADIUS_MM = (2.5, 5.0)  # of a central one
LENGTH_MM = {CENTRAL: (10.0, 40.0), SEGMENTAL: (6.0, 20.0)}
# A segmental one, against the vessel's radius where it begins: it floats in blood, or blocks it.
FILLS = ((0.6, 0.8), (1.2, 1.5))
CENTRAL_DEPTH_MM, SEGMENTAL_DEPTH_MM = 4.0, 1.6  # from the vessel's wall, where one may begin
SMALLEST_ML = 0.03
APART_MM = 12.0  # between two of a scan
TRIES = 80
STEPS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
STEPS = STEPS[np.abs(STEPS).any(axis=1)]


@dataclass(frozen=True, eq=False)
class Clot:
    """voxels: (n, 3) indices (k, j, i), all within an artery. ml: its volume."""

    kind: str
    hu: float
    voxels: Array
    ml: float


@dataclass(frozen=True, eq=False)
class Places:
    """Where clots may begin, kind -> (n, 3) voxels. depth_mm: [k, j, i] to the arteries' wall."""

    arteries: Array
    depth_mm: Array
    begins: dict[str, Array]
    spacing_mm: float


def clot_places(arteries: Array, label: Array, zone: Array, spacing_mm: float) -> Places:
    """Places within a zone (bool): central ones in the label, segmental ones beyond."""
    depth_mm = ndimage.distance_transform_edt(arteries, spacing_mm)
    inside = arteries & zone
    begins = {
        CENTRAL: np.argwhere(inside & label & (depth_mm >= CENTRAL_DEPTH_MM)),
        SEGMENTAL: np.argwhere(inside & ~label & (depth_mm >= SEGMENTAL_DEPTH_MM)),
    }
    return Places(inside, depth_mm, begins, spacing_mm)


def draw_clots(places: Places, counts: dict[str, int], rng: np.random.Generator) -> list[Clot]:
    """Clots apart from each other, kind -> how many; fewer where they do not fit."""
    clots: list[Clot] = []
    taken = np.zeros(places.arteries.shape, bool)
    for kind, count in counts.items():
        for _ in range(TRIES if len(places.begins[kind]) else 0):
            if sum(clot.kind == kind for clot in clots) == count:
                break
            clot = _draw(places, kind, rng)
            if clot.ml < SMALLEST_ML or taken[tuple(clot.voxels.T)].any():
                continue
            clots.append(clot)
            low, high = clot.voxels.min(0), clot.voxels.max(0)
            margin = int(APART_MM / places.spacing_mm)
            box = tuple(
                slice(max(0, a - margin), b + margin + 1) for a, b in zip(low, high, strict=True)
            )
            own = np.zeros(taken[box].shape, bool)
            own[tuple((clot.voxels - [s.start for s in box]).T)] = True
            taken[box] |= ndimage.distance_transform_edt(~own, places.spacing_mm) <= APART_MM
    return clots


def _draw(places: Places, kind: str, rng: np.random.Generator) -> Clot:
    begin = places.begins[kind][rng.integers(len(places.begins[kind]))]
    length_mm = rng.uniform(*LENGTH_MM[kind])
    if kind == CENTRAL:
        radius_mm = rng.uniform(*RADIUS_MM)
    else:
        fills = FILLS[int(rng.integers(len(FILLS)))]
        radius_mm = rng.uniform(*fills) * float(places.depth_mm[tuple(begin)])
    path = _path(places, begin, length_mm, rng)
    voxels = _worm(places, path, max(radius_mm, places.spacing_mm), rng)
    return Clot(kind, rng.uniform(*HU), voxels, len(voxels) * places.spacing_mm**3 / 1000)


def _path(places: Places, begin: Array, length_mm: float, rng: np.random.Generator) -> Array:
    """(n, 3): a walk along the vessel, which likes to go straight on and to stay in its middle."""
    here, gone, path = begin, 0.0, [begin]
    heading = rng.normal(size=3)
    deepest = max(float(places.depth_mm[tuple(begin)]), 1e-6)
    while gone < length_mm:
        steps = here + STEPS
        inside = np.all((steps >= 0) & (steps < places.arteries.shape), axis=1)
        inside[inside] = places.arteries[tuple(steps[inside].T)]
        if not inside.any():
            break
        lengths = np.linalg.norm(STEPS[inside], axis=1)
        ahead = STEPS[inside] @ heading / lengths / np.linalg.norm(heading)
        depths = places.depth_mm[tuple(steps[inside].T)] / deepest
        best = int(np.argmax(ahead + 0.7 * depths + 0.2 * rng.normal(size=len(ahead))))
        heading = (
            0.6 * heading / np.linalg.norm(heading) + 0.4 * STEPS[inside][best] / lengths[best]
        )
        here, gone = steps[inside][best], gone + lengths[best] * places.spacing_mm
        path.append(here)
    return np.array(path)


def _worm(places: Places, path: Array, radius_mm: float, rng: np.random.Generator) -> Array:
    """(n, 3) voxels of the vessel within a wavering radius of the path, in one piece with it."""
    margin = int(np.ceil(1.3 * radius_mm / places.spacing_mm)) + 1
    low = np.maximum(path.min(0) - margin, 0)
    high = np.minimum(path.max(0) + margin + 1, places.arteries.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(
        np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1
    )
    inside = np.zeros(places.arteries[box].shape, bool)
    radii = radius_mm * (1 + 0.2 * np.sin(rng.uniform(0, 2 * np.pi) + 0.8 * np.arange(len(path))))
    for centre, radius in zip(path, radii, strict=True):
        inside |= ((grid - centre) ** 2).sum(-1) * places.spacing_mm**2 <= radius**2
    inside &= places.arteries[box]
    pieces, _ = ndimage.label(inside, ndimage.generate_binary_structure(3, 3))
    own = pieces == pieces[tuple(path[0] - low)]
    return np.argwhere(own) + low


def insert(
    hu: Array, clots: list[Clot], blood_hu: float, blur_mm: float, spacing_mm: float
) -> Array:
    """float32 [k, j, i]: the scan with these clots instead of blood.

    What a scanner sees is blurred and linear, so the difference between clot and blood is blurred
    and added; the scan's own noise stays, and so does what it mixes at a vessel's edge.
    """
    difference = np.zeros(hu.shape, np.float32)
    for clot in clots:
        difference[tuple(clot.voxels.T)] = clot.hu - blood_hu
    return hu + ndimage.gaussian_filter(difference, blur_mm / spacing_mm)
