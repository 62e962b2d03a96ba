"""Where in the head each voxel of a sample lies: turned, scaled, sheared, bent, mirrored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .draw import Draw, Shape
from .head_maps import LEFT, NO_SIDE, RIGHT, HeadMap

MIRRORED_SIDES = torch.tensor([NO_SIDE, RIGHT, LEFT], dtype=torch.uint8)


@dataclass(frozen=True)
class PoseConfig:
    """How far a head may be moved.

    degrees: of rotation about each axis (standard deviation). scale: largest factor up or down, of
    the whole and again of each axis. shear: standard deviation. shift_mm: of the brain's centre
    from the sample's, along each axis. bend_mm: standard deviation of the two elastic fields, the
    first with about `bend_points` nodes over the sample, the second with twice as many.
    """

    degrees: float = 12.0
    scale: float = 1.15
    shear: float = 0.04
    shift_mm: tuple[float, float, float] = (30.0, 25.0, 25.0)
    bend_mm: tuple[float, float] = (4.0, 1.5)
    bend_points: int = 5


@dataclass(frozen=True, eq=False)
class PosedHead:
    """A head on the grid of a sample: uint8 (K, J, I) each, as in `HeadMap`."""

    tissues: Tensor
    structures: Tensor
    sides: Tensor


def posed(head: HeadMap, draw: Draw, shape: Shape, config: PoseConfig) -> PosedHead:
    """Put a head onto a sample's grid of 1 mm, by nearest neighbour, so that labels stay labels."""
    matrix = draw_matrix(draw, config)
    mirrored = bool(torch.linalg.det(matrix) < 0)
    index, inside = sampled_voxels(head, matrix, draw, shape, config)
    taken = []
    for array in (head.tissues, head.structures, head.sides):
        values = torch.from_numpy(array).to(draw.device).reshape(-1)[index]  # (K, J, I)
        taken.append(values * inside)  # beyond the map is air
    tissues, structures, sides = taken
    if mirrored:
        sides = MIRRORED_SIDES.to(draw.device)[sides.long()]
    return PosedHead(tissues, structures, sides)


def draw_matrix(draw: Draw, config: PoseConfig) -> Tensor:
    """(3, 3) from millimetres of the sample to millimetres of the head; axes (k, j, i).

    Half of all draws mirror left and right: the determinant is negative then.
    """
    matrix = turned([draw.normal(config.degrees) for _ in range(3)])
    shear = torch.eye(3)
    for row in range(3):
        for column in range(3):
            if row != column:
                shear[row, column] = draw.normal(config.shear)
    reach = float(torch.log(torch.tensor(config.scale)))
    whole = draw.uniform(-reach, reach)
    scales = torch.tensor([whole + draw.uniform(-reach, reach) / 2 for _ in range(3)]).exp()
    matrix = matrix @ shear @ torch.diag(scales)
    if draw.chance(0.5):
        matrix[2] *= -1
    return matrix


def turned(degrees: Iterable[float]) -> Tensor:
    """(3, 3) rotation about the axes k, j and i in turn."""
    matrix = torch.eye(3)
    for axis, angle in enumerate(degrees):
        matrix = matrix @ rotation(axis, float(angle))
    return matrix


def rotation(axis: int, degrees: float) -> Tensor:
    """(3, 3) rotation about one of the axes (k, j, i)."""
    angle = torch.deg2rad(torch.tensor(degrees))
    first, second = (other for other in range(3) if other != axis)
    turn = torch.eye(3)
    turn[first, first] = turn[second, second] = angle.cos()
    turn[first, second], turn[second, first] = -angle.sin(), angle.sin()
    return turn


def sampled_voxels(
    head: HeadMap, matrix: Tensor, draw: Draw, shape: Shape, config: PoseConfig
) -> tuple[Tensor, Tensor]:
    """For each voxel of a sample the flat index of the head's voxel, int64 (K, J, I), and whether
    it lies inside the map, bool (K, J, I).
    """
    bend = draw.smooth(shape, config.bend_points, 3) * draw.uniform(0, config.bend_mm[0])
    bend += draw.smooth(shape, 2 * config.bend_points, 3) * draw.uniform(0, config.bend_mm[1])
    shift = [draw.uniform(-reach, reach) for reach in config.shift_mm]
    steps = [
        torch.arange(n, device=draw.device, dtype=torch.float32) - (n - 1) / 2 - s
        for n, s in zip(shape, shift, strict=True)
    ]
    index = torch.zeros(shape, dtype=torch.int64, device=draw.device)
    inside = torch.ones(shape, dtype=torch.bool, device=draw.device)
    for axis, count in enumerate(head.tissues.shape):
        k, j, i = (float(matrix[axis, a]) * steps[a] for a in range(3))
        place = bend[axis].add_(k[:, None, None] + (j[:, None] + (i + head.centre_vox[axis])))
        voxel = place.round_().to(torch.int64)
        inside &= (voxel >= 0) & (voxel < count)
        index = index * count + voxel.clamp_(0, count - 1)
    return index, inside
