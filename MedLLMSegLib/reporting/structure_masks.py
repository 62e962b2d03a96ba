"""The structures of a segmentation as masks, and the organs that they are parts of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.anatomy.structures import TISSUE
from MedLLMSegLib.core.geometry import Grid, sub_grid, transform_points
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.types import Array

RIM = 4  # voxels around a mask, room for smoothing


@dataclass(frozen=True)
class Organ:
    """Structures that are parts of one organ (same type and side), drawn together."""

    name: str
    structures: tuple[Structure, ...]


@dataclass(frozen=True, eq=False)
class Mask:
    """One structure, cut out of the label map.

    array: float32 [k, j, i] of 0 and 1 on ``grid``, with `RIM` voxels of 0 on every side.
    """

    structure: Structure
    array: Array
    grid: Grid

    def points_ras(self) -> Array:
        """(n, 3) RAS mm of its voxels."""
        return transform_points(self.grid.ijk_to_ras, np.argwhere(self.array > 0)[:, ::-1])


def organs(structures: tuple[Structure, ...]) -> list[Organ]:
    """The structures grouped by type and side, in order; uncoded structures stay alone."""
    parts_of: dict[tuple[str | None, ...], list[Structure]] = {}
    for structure in structures:
        side = structure.modifier.value if structure.modifier else None
        own_key = structure.key if structure.type == TISSUE else None
        parts_of.setdefault((structure.type.value, side, own_key), []).append(structure)
    return [Organ(_organ_name(parts), tuple(parts)) for parts in parts_of.values()]


def _organ_name(parts: list[Structure]) -> str:
    first = parts[0]
    if len(parts) == 1:
        return first.name
    meaning = first.type.meaning
    return (f"{first.modifier.meaning} {meaning}" if first.modifier else meaning).capitalize()


def structure_masks(segmentation: Segmentation) -> dict[int, Mask]:
    """Label -> its `Mask`, for the structures that have voxels."""
    labels = segmentation.labels
    masks = {}
    for structure in segmentation.structures:
        mask = mask_of(labels.array == structure.label, labels.grid, structure)
        if mask is not None:
            masks[structure.label] = mask
    return masks


def mask_of(inside: Array, grid: Grid, structure: Structure) -> Mask | None:
    """The `Mask` of voxels, bool [k, j, i] on a grid; None where there are none."""
    if not inside.any():
        return None
    k, j, i = (_span(inside, axis) for axis in range(3))
    array = np.pad(inside[k, j, i].astype(np.float32), RIM)
    cut = sub_grid(grid, (k, j, i))
    ijk_to_ras = cut.ijk_to_ras.copy()
    ijk_to_ras[:3, 3] = transform_points(ijk_to_ras, np.array([-RIM] * 3))
    return Mask(structure, array, Grid(array.shape, ijk_to_ras))


def _span(inside: Array, axis: int) -> slice:
    """The indices along an axis that hold a mask."""
    others = tuple(other for other in range(3) if other != axis)
    occupied = np.flatnonzero(inside.any(axis=others))
    return slice(int(occupied[0]), int(occupied[-1]) + 1)
