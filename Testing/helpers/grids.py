"""Grids of every orientation, and a shape to put into them."""

import itertools

import numpy as np

from MedLLMSegLib.core.geometry import Grid, transform_points, voxel_map


def rotation(degrees_xyz):
    """(3, 3): rotations about x, y and z, one after the other."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees_xyz)):
        a, b = [n for n in range(3) if n != axis]
        cosine, sine = np.cos(angle), np.sin(angle)
        one = np.eye(3)
        one[a, a] = one[b, b] = cosine
        one[a, b] = -sine
        one[b, a] = sine
        matrix = matrix @ one
    return matrix


def make_grid(
    order=(0, 1, 2),
    flips=(1, 1, 1),
    spacing=(1.0, 1.0, 1.0),
    degrees=(0, 0, 0),
    field_mm=60.0,
    centre=(7.0, -21.0, 33.0),
):
    """A cube of `field_mm` around `centre`, its axes permuted, flipped, scaled and turned."""
    axes = rotation(degrees) @ np.diag(flips).astype(float)[:, list(order)]
    shape_ijk = np.round(field_mm / np.array(spacing)).astype(int)
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    matrix[:3, 3] = np.array(centre) - matrix[:3, :3] @ ((shape_ijk - 1) / 2)
    return Grid(tuple(int(n) for n in shape_ijk[::-1]), matrix)


def world_points(grid):
    """[k, j, i, 3]: where each voxel's centre lies, in RAS mm."""
    kji = np.moveaxis(np.indices(grid.shape), 0, -1)
    return transform_points(grid.ijk_to_ras, kji[..., ::-1])


def centroid_ras(mask, grid):
    """The centre of a mask's voxels, in RAS mm."""
    return transform_points(grid.ijk_to_ras, np.argwhere(mask)[:, ::-1]).mean(0)


def ellipsoid(grid, centre=(10.0, -17.0, 35.0), radii=(6.0, 11.0, 8.0)):
    """A shape that has no symmetry with the field: True inside, in world coordinates."""
    distance = (world_points(grid) - centre) / radii
    return (distance**2).sum(-1) <= 1


def dice(a, b):
    """The Dice overlap of two masks."""
    return 2 * (a & b).sum() / (a.sum() + b.sum())


GRIDS = {
    **{f"permuted {o}": make_grid(order=o) for o in itertools.permutations(range(3))},
    **{f"flipped {f}": make_grid(flips=f) for f in itertools.product((1, -1), repeat=3)},
    "anisotropic": make_grid(spacing=(0.4, 0.9, 4.0)),
    "fine": make_grid(spacing=(0.4, 0.4, 0.4)),
    "0.8 mm": make_grid(spacing=(0.8, 0.8, 0.8), centre=(7.1234, -21.37, 33.91)),
    "off the lattice": make_grid(centre=(7.1234, -21.37, 33.91)),
    "oblique": make_grid(degrees=(20, -15, 30)),
    "oblique, flipped, permuted, anisotropic": make_grid(
        (2, 0, 1), (-1, 1, -1), (0.8, 0.8, 3.0), (10, 25, -12)
    ),
}


def positions_in(from_grid, to_grid):
    """[k, j, i, 3]: where the target's voxel centres lie in the source, in its voxels (k, j, i)."""
    matrix = voxel_map(from_grid, to_grid)
    kji = np.moveaxis(np.indices(to_grid.shape), 0, -1)
    return kji @ matrix[:3, :3].T + matrix[:3, 3]


def finer(grid, samples):
    """The grid with this many samples along (k, j, i) in each voxel."""
    scale = np.diag([*(1 / np.array(samples[::-1])), 1.0])
    scale[:3, 3] = (np.diag(scale)[:3] - 1) / 2
    return Grid(tuple(np.array(grid.shape) * samples), grid.ijk_to_ras @ scale)


def within_faces(source, target):
    """bool [k, j, i]: which of the target's voxel centres lie well between the source's faces."""
    places = positions_in(source, target)
    return ((places > -0.499) & (places < np.array(source.shape) - 0.501)).all(-1)
