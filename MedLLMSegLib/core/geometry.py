"""Voxel grids in space and moving images between them: pure functions on arrays and matrices.

A grid is a shape (k, j, i) and ``ijk_to_ras`` (4 x 4, mm). Matrices act on (i, j, k, 1) as in MRML;
arrays are [k, j, i] as in SimpleITK, so one reversal of axes stands between the two, in `voxel_map`
only. Everything that preprocessing does to a scan (orientation, spacing, crop, padding, mirroring)
is one change of grid, and the way back is the same change with its two grids swapped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an array lie.

    shape: (k, j, i) voxels. ijk_to_ras: (4, 4) from voxel indices (i, j, k) to RAS millimetres;
    voxel centres are at whole numbers.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (k, j, i)."""
        return tuple(float(s) for s in np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)[::-1])

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Edge lengths of the whole grid along (k, j, i), voxel faces included."""
        return tuple(n * s for n, s in zip(self.shape, self.spacing_mm))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    def corners_ras(self) -> np.ndarray:
        """The eight outer corners (voxel faces, not centres) as (8, 3) RAS mm."""
        lows, highs = (-0.5, -0.5, -0.5), [n - 0.5 for n in self.shape[::-1]]
        ijk = np.array([[(lows, highs)[(c >> a) & 1][a] for a in range(3)] for c in range(8)])
        return transform_points(self.ijk_to_ras, ijk)

    def centre_ras(self) -> np.ndarray:
        """The middle of the grid as (3,) RAS mm."""
        return transform_points(self.ijk_to_ras, (np.array(self.shape[::-1]) - 1) / 2.0)


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Transform points (..., 3) by a (4, 4) matrix."""
    return np.asarray(points, float) @ matrix[:3, :3].T + matrix[:3, 3]


def centred_grid(centre_ras, shape, spacing_mm, mirrored: bool = False) -> Grid:
    """A grid along the RAS axes around a point.

    centre_ras: (3,) mm. shape: (k, j, i). spacing_mm: one number for every axis, or (k, j, i).
    mirrored: let i run from right to left, so that a right-sided organ looks like a left-sided one.
    """
    return _centred(centre_ras, shape, spacing_mm, np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0]))


def _centred(centre_ras, shape, spacing_mm, directions: np.ndarray) -> Grid:
    """directions: (3, 3), whose columns are the unit vectors of i, j and k in RAS."""
    steps = directions * np.broadcast_to(np.asarray(spacing_mm, float), 3)[::-1]
    matrix = np.eye(4)
    matrix[:3, :3] = steps
    matrix[:3, 3] = np.asarray(centre_ras, float) - steps @ ((np.array(shape[::-1]) - 1) / 2.0)
    return Grid(tuple(int(n) for n in shape), matrix)


def covering_grid(grid: Grid, spacing_mm, mirrored: bool = False) -> Grid:
    """The smallest grid along the RAS axes with this spacing (one number, or (k, j, i)) that covers
    another grid.

    A grid that already runs along RAS with this spacing (and needs no mirroring) is covered voxel
    on voxel.
    """
    corners = grid.corners_ras()
    low, high = corners.min(0), corners.max(0)
    shape = _voxels(high - low, spacing_mm)
    return centred_grid((low + high) / 2, shape, spacing_mm, mirrored)


def aligned_grid(grid: Grid, spacing_mm) -> Grid:
    """The smallest grid along the scan's own axes with this spacing (one number, or (k, j, i)) that
    covers it.

    For scans with thick slices, which lose by turning: k runs across the slices (the coarsest
    axis), i is the other axis nearest to left-right; each axis points as nearly right, anterior or
    superior as it can. So the same scan stored in another order of axes gets the same grid.
    """
    spacing = np.array(grid.spacing_mm[::-1])  # (i, j, k)
    directions = grid.ijk_to_ras[:3, :3] / spacing  # columns are the axes i, j, k
    coarse = spacing >= 0.99 * spacing.max()
    k = max(range(3), key=lambda a: (coarse[a], abs(directions[2, a])))
    i = max({0, 1, 2} - {k}, key=lambda a: abs(directions[0, a]))
    order = [i, 3 - i - k, k]
    signs = [np.sign(directions[np.abs(directions[:, a]).argmax(), a]) for a in order]
    extent = (np.array(grid.shape[::-1]) * spacing)[order]
    return _centred(
        grid.centre_ras(), _voxels(extent, spacing_mm), spacing_mm, directions[:, order] * signs
    )


def _voxels(extent_mm: np.ndarray, spacing_mm) -> tuple[int, int, int]:
    """How many voxels (k, j, i) cover an extent given along (i, j, k); a thousandth of a voxel
    is round-off.
    """
    steps = np.broadcast_to(np.asarray(spacing_mm, float), 3)
    return tuple(int(n) for n in np.maximum(1, np.ceil(extent_mm[::-1] / steps - 1e-3)))


def voxel_map(from_grid: Grid, to_grid: Grid) -> np.ndarray:
    """(4, 4) from [k, j, i] indices of ``to_grid`` to [k, j, i] indices of ``from_grid``."""
    ijk = np.linalg.inv(from_grid.ijk_to_ras) @ to_grid.ijk_to_ras
    reverse = np.eye(4)[[2, 1, 0, 3]]
    return reverse @ ijk @ reverse


def resample(
    array, from_grid: Grid, to_grid: Grid, order: int = 1, outside: float | None = None
) -> np.ndarray:
    """Sample an image [k, j, i] at the voxel centres of another grid.

    order: 1 trilinear (returns float32), 0 nearest (keeps the type).
    outside: value beyond the scan; None repeats the scan's outermost voxels.
    Voxels are averaged first where the new grid is coarser, so that detail does not alias.
    """
    if order:
        array, from_grid = _averaged(np.asarray(array), from_grid, to_grid)
    matrix = voxel_map(from_grid, to_grid)
    out = np.empty(to_grid.shape, np.float32 if order else array.dtype)
    ndimage.affine_transform(
        array,
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=to_grid.shape,
        output=out,
        order=order,
        mode="nearest" if outside is None else "constant",
        cval=0.0 if outside is None else outside,
        prefilter=False,
    )
    return out


def _averaged(array: np.ndarray, grid: Grid, target: Grid) -> tuple[np.ndarray, Grid]:
    """Average whole blocks of voxels along each axis that is at least twice as fine as the
    target needs.
    """
    step = np.linalg.norm(
        voxel_map(grid, target)[:3, :3], axis=1
    )  # source voxels a target voxel spans, per axis
    factors = [int(max(1, min(np.floor(s + 1e-6), n))) for s, n in zip(step, array.shape)]
    if max(factors) == 1:
        return array, grid
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = np.arange(0, array.shape[axis] - array.shape[axis] % factor, factor)
            whole = array[
                (slice(None),) * axis + (slice(len(starts) * factor),)
            ]  # a view: a copy of a large scan takes a second
            array = np.add.reduceat(whole, starts, axis=axis, dtype=np.float32) / np.float32(factor)
    scale = np.diag([*factors[::-1], 1.0])
    scale[:3, 3] = (np.array(factors[::-1]) - 1) / 2.0
    return array, Grid(array.shape, grid.ijk_to_ras @ scale)


def overlap_box(grid: Grid, other: Grid, margin_vox: int = 1) -> tuple[slice, slice, slice]:
    """The half-open box [k, j, i] of ``grid``'s voxels that may lie inside ``other``."""
    ijk = transform_points(np.linalg.inv(grid.ijk_to_ras), other.corners_ras())
    low = np.clip(np.floor(ijk.min(0)).astype(int) - margin_vox, 0, grid.shape[::-1])
    high = np.clip(np.ceil(ijk.max(0)).astype(int) + 1 + margin_vox, low, grid.shape[::-1])
    return tuple(slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1]))


def inside_mask(grid: Grid, target: Grid) -> np.ndarray:
    """Which voxel centres of ``target`` lie within the faces of ``grid``: bool [k, j, i] of the
    target's shape.
    """
    matrix = voxel_map(grid, target)
    steps = np.ogrid[tuple(slice(n) for n in target.shape)]
    result = np.ones(target.shape, bool)
    for axis, count in enumerate(grid.shape):
        place = sum(matrix[axis, a] * steps[a] for a in range(3)) + matrix[axis, 3]
        result &= (place > -0.501) & (place < count - 0.499)  # a thousandth of a voxel is round-off
    return result


def regridded(grid: Grid, rows: int, columns: int) -> Grid:
    """The same slices in so many rows and columns, their outer faces where they were."""
    scale = np.diag([grid.shape[2] / columns, grid.shape[1] / rows, 1.0, 1.0])
    scale[:2, 3] = (
        scale[[0, 1], [0, 1]] - 1
    ) / 2  # voxel centres are at whole numbers, faces half a voxel beyond
    return Grid((grid.shape[0], rows, columns), grid.ijk_to_ras @ scale)


def square_around(grid: Grid, size: int) -> Grid:
    """A square of ``size`` x ``size`` pixels in the plane and around the middle of a grid of one
    slice, whose longer side fills it; its pixels are square in mm.
    """
    slice_mm, *_ = grid.spacing_mm
    pixel_mm = max(grid.extent_mm[1:]) / size
    directions = grid.ijk_to_ras[:3, :3] / grid.spacing_mm[::-1]  # columns are the axes i, j, k
    return _centred(grid.centre_ras(), (1, size, size), (slice_mm, pixel_mm, pixel_mm), directions)


def sub_grid(grid: Grid, box: tuple[slice, slice, slice]) -> Grid:
    """The grid of ``array[box]`` for an array that lies on ``grid``."""
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 3] = transform_points(matrix, [s.start for s in box[::-1]])
    return Grid(tuple(s.stop - s.start for s in box), matrix)
