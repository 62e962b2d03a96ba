"""A nodule's shape put into a lung, with a density, a texture, and the scan's own blur."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.geometry import Box
from MedLLMSegLib.core.types import Array

from .density import Density
from .scans import Scan
from .shapes import NoduleShape

FINE_MM = 1.0  # about, of the grid that shapes are averaged from
REACH = 3.0  # SDs of the blur around a shape that may change
TRIES = 400
IN_LUNG = 0.9  # of a shape's voxels, at least
VESSELS = 0.15  # of a shape's voxels, at most, brighter than `VESSEL_HU`
VESSEL_HU = -400.0
# mean of what was there before; the airways are darker, and walls and vessels brighter
BEFORE_HU = (-950.0, -600.0)


@dataclass(frozen=True, eq=False)
class Pose:
    """How a shape lies in a scan. centre: (k, j, i) in the scan's voxels. angle: radians, in the
    slice. flips: whether it is mirrored along k, j, i.
    """

    centre: Array
    angle: float = 0.0
    flips: tuple[bool, bool, bool] = (False, False, False)


@dataclass(frozen=True, eq=False)
class Placed:
    """A shape on a scan's grid.

    box: of the scan, half-open. inside, blurred: float [k, j, i], how much of each voxel is nodule,
    and how much the scanner's blur leaves of it. centre: (k, j, i) in the scan's voxels.
    """

    box: Box
    inside: Array
    blurred: Array
    centre: Array


def place(shape: NoduleShape, scan: Scan, pose: Pose) -> Placed | None:
    """A shape on the scan's grid; None where it would leave the scan.

    Shapes are interpolated through their distance (Raya and Udupa 1990). A voxel of the scan is the
    mean over itself, whose slice may be thick; in the slice, the scan's blur holds that already.
    """
    spacing = np.array(scan.spacing_mm)
    reach = _radius(shape) + REACH * scan.blur_mm + 2
    low = np.floor(pose.centre - reach / spacing).astype(int)
    high = np.ceil(pose.centre + reach / spacing).astype(int) + 1
    if (low < 0).any() or (high > scan.hu.shape).any():
        return None
    parts = np.maximum(1, np.round(spacing / FINE_MM)).astype(int)
    k, j, i = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    fine = _fine_inside(shape, pose, (k, j, i), parts, spacing)
    step = spacing / parts
    # A mean over the voxel has itself a variance of a twelfth of its width squared.
    sharp = np.sqrt(np.maximum(scan.blur_mm**2 - spacing**2 / 12, 0)) / step
    blurred = ndimage.gaussian_filter(fine, (0, sharp[1], sharp[2]))
    return Placed((k, j, i), _means(fine, parts), _means(blurred, parts), pose.centre)


def _radius(shape: NoduleShape) -> float:
    """mm from the centre to the furthest voxel."""
    places = np.argwhere(shape.mask) * shape.spacing_mm
    return float(np.linalg.norm(places - places.mean(axis=0), axis=1).max())


def _fine_inside(shape: NoduleShape, pose: Pose, box: Box, parts: Array, spacing: Array) -> Array:
    """float32 0 to 1 on a grid of `parts` points for each voxel of the box, where the shape is."""
    own = np.array(shape.spacing_mm)
    padded = np.pad(shape.mask, 2)
    distance = ndimage.distance_transform_edt(padded, own) - ndimage.distance_transform_edt(
        ~padded, own
    )
    axes = [
        ((np.arange((side.stop - side.start) * n) + 0.5) / n - 0.5 + side.start - c) * s
        for side, n, s, c in zip(box, parts, spacing, pose.centre, strict=True)
    ]  # mm from the centre
    k, j, i = np.meshgrid(*axes, indexing="ij")
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    turned = [k, cos * j - sin * i, sin * j + cos * i]
    middle = np.argwhere(padded).mean(axis=0)
    where = [
        (-part if flip else part) / s + m
        for part, flip, s, m in zip(turned, pose.flips, own, middle, strict=True)
    ]
    far = float(distance.min())
    signed = ndimage.map_coordinates(distance.astype(np.float32), where, order=1, cval=far)
    inside: Array = np.clip(0.5 + signed / FINE_MM, 0, 1).astype(np.float32)
    return inside


def _means(fine: Array, parts: Array) -> Array:
    k, j, i = (n // p for n, p in zip(fine.shape, parts, strict=True))
    blocks = fine.reshape(k, parts[0], j, parts[1], i, parts[2])  # (K, pk, J, pj, I, pi)
    means: Array = blocks.mean(axis=(1, 3, 5))
    return means


def fits(placed: Placed, scan: Scan, taken: Array) -> bool:
    """Whether a shape lies in the lung, not in a vessel, airway or wall, and where nothing is yet.

    taken: bool [k, j, i] of the scan, where nothing may be.
    """
    shape = placed.inside >= 0.5
    if not shape.any() or taken[placed.box][placed.inside > 0].any():
        return False
    before = scan.hu[placed.box][shape]
    if scan.lungs[placed.box][shape].mean() < IN_LUNG or (before > VESSEL_HU).mean() > VESSELS:
        return False
    low, high = BEFORE_HU
    return low < before.mean() < high


def find_place(
    shape: NoduleShape, scan: Scan, taken: Array, places: Array, rng: np.random.Generator
) -> Placed | None:
    """A shape at a random place where it fits; None after `TRIES`. places: voxels (n, 3) of the
    lungs.
    """
    for _ in range(TRIES if len(places) else 0):
        centre = places[rng.integers(len(places))] + rng.uniform(-0.5, 0.5, 3)
        k, j, i = (bool(flip) for flip in rng.integers(0, 2, 3))
        # A voxel in the middle is looked at before the shape is made.
        if not scan.lungs[tuple(np.round(centre).astype(int).clip(0, np.array(taken.shape) - 1))]:
            continue
        found = place(shape, scan, Pose(centre, rng.uniform(0, 2 * np.pi), (k, j, i)))
        if found is not None and fits(found, scan, taken):
            return found
    return None


def insert(
    hu: Array, scan: Scan, placed: Placed, density: Density, rng: np.random.Generator
) -> Array:
    """Change `hu`, a copy of the scan's, in the box of a placed shape; returns the nodule's outline
    in the box, bool [k, j, i].

    What is denser than the nodule (vessels, walls) and what is no lung keeps its values.
    """
    box, lungs = placed.box, scan.lungs[placed.box]
    core = rng.normal(density.hu, density.sd_hu)
    noise = rng.normal(size=lungs.shape)
    smooth = ndimage.gaussian_filter(noise, [density.texture_mm / s for s in scan.spacing_mm])
    nodule = core + density.sd_hu * smooth / smooth.std()
    before = hu[box].astype(np.float32)
    share = placed.blurred * lungs
    hu[box] = np.round(before + share * np.maximum(nodule - before, 0)).astype(hu.dtype)
    outline: Array = (placed.inside >= 0.5) & lungs
    return outline
