"""One sample: a head that is drawn, posed, changed, painted and scanned, with its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .changes import ChangeConfig, changed, outside_view
from .contrast import ContrastConfig, painted
from .draw import Draw, Shape
from .head_maps import HeadMap
from .pose import PoseConfig, PosedHead, posed
from .scanner import ScannerConfig, scanned


@dataclass(frozen=True)
class SynthesisConfig:
    """Everything that is drawn. shape: voxels (k, j, i) of a sample, 1 mm each. cut: how often the
    field of view ends within the sample.
    """

    shape: Shape = (128, 160, 128)
    cut: float = 0.2
    pose: PoseConfig = field(default_factory=PoseConfig)
    changes: ChangeConfig = field(default_factory=ChangeConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    scanner: ScannerConfig = field(default_factory=ScannerConfig)


@dataclass(frozen=True, eq=False)
class SyntheticHead:
    """image: float32 (K, J, I), mean 0 and standard deviation 1. structures, sides: uint8
    (K, J, I), as in `HeadMap`. i runs to the right, j to the front, k up.
    """

    image: Tensor
    structures: Tensor
    sides: Tensor


def draw_head(
    heads: Sequence[HeadMap],
    seed: int,
    config: SynthesisConfig,
    device: torch.device | str = "cpu",
) -> SyntheticHead:
    """The sample of a seed: the same for the same heads, configuration and device."""
    draw = Draw(seed, device)
    head = heads[draw.integer(0, len(heads))]
    there = posed(head, draw, config.shape, config.pose)
    there = changed(there, head.numbers, draw, config.changes)
    image = painted(there.tissues, head.numbers, draw, config.contrast)
    image = scanned(image, draw, config.scanner)
    if draw.chance(config.cut):
        beyond = outside_view(config.shape, draw)
        image = torch.where(beyond, image.min(), image)
        there = PosedHead(there.tissues, there.structures * ~beyond, there.sides * ~beyond)
    return SyntheticHead(standardised(image), there.structures, there.sides)


def standardised(image: Tensor) -> Tensor:
    """Clipped at the 0.5th and 99.5th percentile, then mean 0 and standard deviation 1.

    The percentiles are those of every fourth voxel along each axis.
    """
    few = image[::4, ::4, ::4].reshape(-1)
    low, high = torch.quantile(few, torch.tensor([0.005, 0.995], device=image.device))
    image = image.clamp(low, high)
    return (image - image.mean()) / image.std().clamp(min=1e-6)
