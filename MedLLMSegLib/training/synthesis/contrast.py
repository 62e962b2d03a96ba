"""Labels painted with grey values: any contrast at all, or one like those that scanners give."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .draw import Draw

# Which of four tissues each number of the brain is most like: -1 fluid, 0 grey, 1 white; between
# them lies what is mixed. Ranges as in T1; a contrast of its own is drawn for each along this axis.
ALIKE = {
    2: (0.95, 1.0),
    3: (-0.05, 0.05),
    4: (-1.0, -1.0),
    5: (-1.0, -0.9),
    7: (0.8, 1.0),
    8: (-0.1, 0.1),
    10: (0.35, 0.8),
    11: (0.0, 0.3),
    12: (0.15, 0.5),
    13: (0.5, 0.95),
    14: (-1.0, -0.9),
    15: (-1.0, -0.9),
    16: (0.6, 1.0),
    17: (-0.1, 0.2),
    18: (-0.1, 0.2),
    24: (-1.1, -0.8),
    25: (-0.5, 0.9),
    26: (0.0, 0.3),
    28: (0.5, 1.0),
    30: (-0.3, 1.0),
    72: (-1.0, -0.9),
    85: (0.3, 1.0),
    136: (-0.3, 1.0),
    137: (-0.3, 1.0),
    163: (-0.3, 1.0),
    164: (-0.3, 1.0),
}


@dataclass(frozen=True)
class ContrastConfig:
    """alike: how often similar tissues are given similar greys; else every number has its own.

    spread: largest standard deviation of the grey values within a number, of a range of 1.
    """

    alike: float = 0.6
    spread: float = 0.1


def painted(
    tissues: Tensor, numbers: tuple[int, ...], draw: Draw, config: ContrastConfig
) -> Tensor:
    """uint8 (K, J, I) of places in `numbers` -> float32 (K, J, I), air at 0.

    Neighbouring voxels of one tissue vary, partly from voxel to voxel and partly in patches.
    """
    means, deviations = draw_contrast(numbers, draw, config)
    index = tissues.long()
    texture = draw.noise(tissues.shape)
    if draw.chance(0.5):
        shape = (tissues.shape[0], tissues.shape[1], tissues.shape[2])
        patches = draw.smooth(shape, draw.integer(10, 30))[0]
        share = draw.uniform(0, 0.8)
        texture = texture.mul_(1 - share).add_(patches, alpha=share)
    return means[index] + deviations[index] * texture


def draw_contrast(
    numbers: tuple[int, ...], draw: Draw, config: ContrastConfig
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each number's grey values, (T,) each."""
    means = torch.tensor([draw.uniform(0, 1) for _ in numbers])
    if draw.chance(config.alike):
        fluid, grey, white = (draw.uniform(0, 1) for _ in range(3))
        for place, number in enumerate(numbers):
            if number in ALIKE:
                along = draw.uniform(*ALIKE[number])
                share = abs(along)
                other = white if along > 0 else fluid
                means[place] = grey + (other - grey) * share + draw.normal(0.02)
    deviations = torch.tensor([draw.uniform(0, config.spread) for _ in numbers])
    if draw.chance(0.9):
        means[0], deviations[0] = 0.0, 0.0
    return means.to(draw.device), deviations.to(draw.device)
