"""Grids of every orientation, and a shape to put into them."""

import itertools

import numpy as np

from MedLLMSegLib.core.geometry import (
    Grid,
    transform_points,
)


def rotation(degrees_xyz):
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees_xyz)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
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


def ellipsoid(grid, centre=(10.0, -17.0, 35.0), radii=(6.0, 11.0, 8.0)):
    """A shape that has no symmetry with the field: 1 inside, in world coordinates."""
    ijk = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape[::-1]), indexing="ij"), -1)
    world = transform_points(grid.ijk_to_ras, ijk)
    inside = (((world - centre) / radii) ** 2).sum(-1) <= 1
    return inside.transpose(2, 1, 0)


def dice(a, b):
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
