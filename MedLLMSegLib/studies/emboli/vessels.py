"""The pulmonary arteries, grown from a label of their trunk, and where emboli are looked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.types import Array

from .chest import Chest, grown, opened

TISSUE_HU = -100.0
LUNG_HU = -850.0
HEART_MM = 5.0  # heart, aorta and veins' trunks hold a ball of this radius
HILUM_MM = 4.5  # around the lungs and around the label
REACH_MM = 6.0  # an embolus has flowing blood, and an artery, at most this far away
LOW = 0.6  # of the artery's HU: a filling defect, mixed with blood at its edge
ALL_AROUND = ndimage.generate_binary_structure(3, 3)


@dataclass(frozen=True, eq=False)
class Vessels:
    """label: of the trunk, as given. arteries: with the branches in the lungs. near: around the
    label and in the lungs. beside_lungs: in the lungs and around them. others: heart, aorta and the
    veins' trunks. blood_hu: of the artery.
    """

    label: Array
    arteries: Array
    near: Array
    beside_lungs: Array
    others: Array
    blood_hu: float


def pulmonary_vessels(chest: Chest, label: Array, blood_hu: float) -> Vessels:
    """The arteries of a chest whose contrast is known."""
    spacing_mm = chest.spacing_mm
    near = chest.lungs | grown(label, HILUM_MM, spacing_mm)
    bright = (chest.hu > blood_hu / 2) & ~grown(label, spacing_mm, spacing_mm)
    others = opened(bright, HEART_MM, spacing_mm)
    beside_lungs = grown(chest.lungs, HILUM_MM, spacing_mm)
    vessels = Vessels(label, label, near, beside_lungs, others, blood_hu)
    return replace(vessels, arteries=grown_arteries(chest.hu, vessels))


def grown_arteries(hu: Array, vessels: Vessels) -> Array:
    """Bool: the label, and the branches in the lungs that are nearer to it than to the heart.

    Bright voxels go to the label, or to heart, aorta and veins, from where fewer steps within
    bright voxels lead to them. That tells arteries from veins only roughly: both touch in places.
    """
    bright = hu > vessels.blood_hu / 2
    return nearer_to_first(vessels.label & bright, vessels.others, bright & vessels.beside_lungs)


def nearer_to_first(first: Array, second: Array, free: Array) -> Array:
    """Bool: ``first``, and the free voxels that fewer steps lead to from there than from the other.

    Steps go to any of the 26 neighbours, within ``free``; equal ones go to ``first``.
    """
    shape = np.add(first.shape, 2)
    steps = (np.argwhere(ALL_AROUND) - 1) @ [shape[1] * shape[2], shape[2], 1]
    owners = np.pad(
        np.where(first, 1, np.where(second, 2, np.where(free, 0, 3))), 1, constant_values=3
    )
    flat = owners.ravel()
    fronts = {owner: np.flatnonzero(flat == owner) for owner in (1, 2)}
    while any(len(front) for front in fronts.values()):
        for owner, front in fronts.items():
            reached = np.unique(front[:, None] + steps)
            fronts[owner] = reached[flat[reached] == 0]
            flat[fronts[owner]] = owner
    reached_by_first: Array = owners[1:-1, 1:-1, 1:-1] == 1
    return reached_by_first


def low_voxels(hu: Array, vessels: Vessels, spacing_mm: float) -> Array:
    """Bool: darker than blood, not air, and near blood: each is a possible place of an embolus.

    Edges of vessels are among them, as they mix blood with lung.
    """
    bright = (hu > vessels.blood_hu / 2) & vessels.near
    low = (hu > TISSUE_HU) & (hu < LOW * vessels.blood_hu) & vessels.near
    return low & grown(bright, REACH_MM, spacing_mm)


def searched_voxels(hu: Array, vessels: Vessels, spacing_mm: float) -> Array:
    """Bool: the low voxels near the arteries, which are grown in this scan, emboli and all.

    Where an embolus blocks a branch, what lies behind it is lost.
    """
    tree = grown(grown_arteries(hu, vessels), REACH_MM, spacing_mm)
    return low_voxels(hu, vessels, spacing_mm) & tree


def edge_blur_mm(chest: Chest, vessels: Vessels) -> float:
    """The standard deviation in mm of the scan's blur, taken as a Gaussian.

    From the steepest edges of thick vessels against lung: a step seen through a Gaussian has a
    gradient of step / (sigma sqrt(2 pi)) at most. Central differences over two voxels widen sigma^2
    by a third of a squared voxel, which is taken off; the least is half a voxel, as what is drawn
    in whole voxels has no finer edge.
    """
    spacing_mm = chest.spacing_mm
    slopes = np.sqrt(sum(slope**2 for slope in np.gradient(chest.hu, spacing_mm)))
    metal = grown(chest.hu > 1.5 * vessels.blood_hu, 6.0, spacing_mm)
    bright = (chest.hu > vessels.blood_hu / 2) & ~metal
    thick = opened(bright, 3.0, spacing_mm) & vessels.near
    edge = grown(thick, 1.5 * spacing_mm, spacing_mm) & grown(
        chest.air, 1.5 * spacing_mm, spacing_mm
    )
    middle = (vessels.blood_hu + LUNG_HU) / 2
    crossing = edge & (np.abs(chest.hu - middle) < 0.2 * (vessels.blood_hu - LUNG_HU))
    if not crossing.any():
        return spacing_mm / 2
    steepest = float(np.percentile(slopes[crossing], 90))
    squared = ((vessels.blood_hu - LUNG_HU) / (steepest * np.sqrt(2 * np.pi))) ** 2
    return float(np.sqrt(max(squared - spacing_mm**2 / 3, spacing_mm**2 / 4)))
