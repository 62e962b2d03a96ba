"""Voxel grids in space, and maps between them: pure functions on arrays and matrices.

A grid is a shape (k, j, i) and ``ijk_to_ras`` (4 x 4, mm). Matrices act on (i, j, k, 1) as in MRML;
arrays are [k, j, i] as in SimpleITK. Only `voxel_map` reverses the order of the axes.

Everything that preprocessing does to a scan (orientation, spacing, crop, padding, mirroring) is one
change of grid. The way back is the same change with the two grids swapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .types import Array, Triple

# One spacing for all axes, or one each for (k, j, i), in mm.
Spacing: TypeAlias = float | Sequence[float]
Box: TypeAlias = tuple[slice, slice, slice]

# Positions that differ by less than this part of a voxel are the same: it is round-off.
ROUND_OFF_VOX = 1e-3


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an array lie.

    shape: (k, j, i) voxels. ijk_to_ras: (4, 4) from voxel indices (i, j, k) to RAS millimetres;
    voxel centres are at whole numbers.
    """

    shape: Triple
    ijk_to_ras: Array

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (k, j, i)."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(k), float(j), float(i)

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Edge lengths of the whole grid along (k, j, i), voxel faces included."""
        k, j, i = (n * s for n, s in zip(self.shape, self.spacing_mm, strict=True))
        return k, j, i

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    @property
    def directions(self) -> Array:
        """(3, 3) whose columns are the unit vectors of the axes i, j and k in RAS."""
        unit_vectors: Array = self.ijk_to_ras[:3, :3] / self.spacing_mm[::-1]
        return unit_vectors

    def corners_ras(self) -> Array:
        """The eight outer corners (voxel faces, not centres) as (8, 3) RAS mm."""
        faces = [(-0.5, n - 0.5) for n in self.shape[::-1]]
        return transform_points(self.ijk_to_ras, np.array(list(product(*faces))))

    def centre_ras(self) -> Array:
        """The middle of the grid as (3,) RAS mm."""
        return transform_points(self.ijk_to_ras, (np.array(self.shape[::-1]) - 1) / 2.0)


def transform_points(matrix: Array, points: ArrayLike) -> Array:
    """Transform points (..., 3) by a (4, 4) matrix."""
    transformed: Array = np.asarray(points, float) @ matrix[:3, :3].T + matrix[:3, 3]
    return transformed


# ---- making grids ----


def centred_grid(
    centre_ras: ArrayLike, shape: Sequence[int], spacing_mm: Spacing, mirrored: bool = False
) -> Grid:
    """A grid along the RAS axes around a point.

    centre_ras: (3,) mm. shape: (k, j, i). spacing_mm: one number for all axes, or (k, j, i).
    mirrored: let i run from right to left, so that a right-sided organ looks like a left-sided one.
    """
    right = -1.0 if mirrored else 1.0
    return _grid_around(centre_ras, shape, spacing_mm, np.diag([right, 1.0, 1.0]))


def _grid_around(
    centre_ras: ArrayLike, shape: Sequence[int], spacing_mm: Spacing, directions: Array
) -> Grid:
    """A grid around a point; the columns of ``directions`` are the unit vectors of i, j and k."""
    k, j, i = (int(n) for n in shape)
    spacing_kji = _per_axis(spacing_mm)
    steps = directions * spacing_kji[::-1]
    middle_ijk = (np.array([i, j, k]) - 1) / 2.0
    matrix = np.eye(4)
    matrix[:3, :3] = steps
    matrix[:3, 3] = np.asarray(centre_ras, float) - steps @ middle_ijk
    return Grid((k, j, i), matrix)


def covering_grid(grid: Grid, spacing_mm: Spacing, mirrored: bool = False) -> Grid:
    """The smallest grid along the RAS axes with this spacing that covers another grid.

    spacing_mm: one number for all axes, or (k, j, i). If the other grid already runs along RAS with
    this spacing, and is not to be mirrored, the voxels of both coincide.
    """
    corners = grid.corners_ras()
    low, high = corners.min(0), corners.max(0)
    shape = _shape_for_extent(high - low, spacing_mm)
    return centred_grid((low + high) / 2, shape, spacing_mm, mirrored)


def aligned_grid(grid: Grid, spacing_mm: Spacing) -> Grid:
    """The smallest grid along the scan's own axes with this spacing that covers the scan.

    spacing_mm: one number for all axes, or (k, j, i). For scans with thick slices, which lose
    detail when they are turned. k runs across the slices (the coarsest axis); i is the other axis
    that lies nearest to left-right. Each axis points as nearly right, anterior or superior as it
    can, so a scan gets the same grid in whichever order its axes are stored.
    """
    spacing_ijk = np.array(grid.spacing_mm[::-1])
    directions = grid.directions
    coarse = spacing_ijk >= 0.99 * spacing_ijk.max()
    k = max(range(3), key=lambda axis: (coarse[axis], abs(directions[2, axis])))
    i = max({0, 1, 2} - {k}, key=lambda axis: abs(directions[0, axis]))
    order = [i, 3 - i - k, k]
    signs = [_sign_of_largest(directions[:, axis]) for axis in order]
    extent_ijk = (np.array(grid.shape[::-1]) * spacing_ijk)[order]
    shape = _shape_for_extent(extent_ijk, spacing_mm)
    return _grid_around(grid.centre_ras(), shape, spacing_mm, directions[:, order] * signs)


def _sign_of_largest(vector: Array) -> float:
    return float(np.sign(vector[np.abs(vector).argmax()]))


def _per_axis(spacing_mm: Spacing) -> Array:
    """A spacing as (3,) mm along (k, j, i)."""
    return np.broadcast_to(np.asarray(spacing_mm, float), 3)


def _shape_for_extent(extent_ijk_mm: Array, spacing_mm: Spacing) -> Triple:
    """The number of voxels along (k, j, i) that covers an extent along (i, j, k)."""
    extent_vox = extent_ijk_mm[::-1] / _per_axis(spacing_mm)
    counts = np.ceil(extent_vox - ROUND_OFF_VOX)
    k, j, i = (max(1, int(n)) for n in counts)
    return k, j, i


def regridded(grid: Grid, rows: int, columns: int) -> Grid:
    """The same slices with other numbers of rows and columns; the outer faces stay in place."""
    scale = np.diag([grid.shape[2] / columns, grid.shape[1] / rows, 1.0, 1.0])
    # Voxel centres are at whole numbers, and the outer faces half a voxel beyond.
    scale[0, 3] = (scale[0, 0] - 1) / 2
    scale[1, 3] = (scale[1, 1] - 1) / 2
    return Grid((grid.shape[0], rows, columns), grid.ijk_to_ras @ scale)


def square_around(grid: Grid, size: int) -> Grid:
    """A square of ``size`` x ``size`` pixels around a single-slice grid, in its plane.

    The slice's longer side fills the square. The pixels are square in mm.
    """
    slice_mm, *_ = grid.spacing_mm
    pixel_mm = max(grid.extent_mm[1:]) / size
    spacing_mm = (slice_mm, pixel_mm, pixel_mm)
    return _grid_around(grid.centre_ras(), (1, size, size), spacing_mm, grid.directions)


def sub_grid(grid: Grid, box: Box) -> Grid:
    """The grid of ``array[box]`` for an array that lies on ``grid``."""
    k, j, i = box
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 3] = transform_points(matrix, (i.start, j.start, k.start))
    return Grid((k.stop - k.start, j.stop - j.start, i.stop - i.start), matrix)


# ---- between two grids ----


def voxel_map(from_grid: Grid, to_grid: Grid) -> Array:
    """(4, 4) from [k, j, i] indices of ``to_grid`` to [k, j, i] indices of ``from_grid``."""
    ijk = np.linalg.inv(from_grid.ijk_to_ras) @ to_grid.ijk_to_ras
    reverse = np.eye(4)[[2, 1, 0, 3]]
    kji: Array = reverse @ ijk @ reverse
    return kji


def overlap_box(grid: Grid, other: Grid, margin_vox: int = 1) -> Box:
    """The half-open box [k, j, i] of ``grid``'s voxels that may lie inside ``other``."""
    corners_ijk = transform_points(np.linalg.inv(grid.ijk_to_ras), other.corners_ras())
    shape_ijk = grid.shape[::-1]
    low = np.clip(np.floor(corners_ijk.min(0)).astype(int) - margin_vox, 0, shape_ijk)
    high = np.clip(np.ceil(corners_ijk.max(0)).astype(int) + 1 + margin_vox, low, shape_ijk)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return k, j, i


def inside_mask(grid: Grid, target: Grid) -> Array:
    """Which voxel centres of ``target`` lie within the faces of ``grid``.

    Returns bool [k, j, i] of the target's shape.
    """
    matrix = voxel_map(grid, target)
    indices = np.ogrid[tuple(slice(n) for n in target.shape)]
    mask = np.ones(target.shape, bool)
    for axis, count in enumerate(grid.shape):
        position = sum(matrix[axis, a] * indices[a] for a in range(3)) + matrix[axis, 3]
        mask &= position > -0.5 - ROUND_OFF_VOX
        mask &= position < count - 0.5 + ROUND_OFF_VOX
    return mask
