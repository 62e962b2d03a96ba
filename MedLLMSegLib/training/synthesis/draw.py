"""Chance for the generator: numbers on the CPU, fields on the device, all from one seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, int, int]  # voxels along (k, j, i)


class Draw:
    """Everything that is random in one sample. The same seed and device give the same sample.

    seed: of this sample. device: where the fields are made.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self._numbers = torch.Generator().manual_seed(seed)
        self._fields = torch.Generator(self.device).manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """A number from low to high."""
        return low + (high - low) * float(torch.rand((), generator=self._numbers))

    def normal(self, deviation: float) -> float:
        """A number of a normal distribution around 0."""
        return deviation * float(torch.randn((), generator=self._numbers))

    def chance(self, probability: float) -> bool:
        """True in so many of all cases."""
        return float(torch.rand((), generator=self._numbers)) < probability

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to below high."""
        return int(torch.randint(low, high, (), generator=self._numbers))

    def one_of(self, choices: Sequence[float]) -> float:
        """One of several numbers."""
        return choices[self.integer(0, len(choices))]

    def noise(self, shape: Sequence[int]) -> Tensor:
        """Standard normal values, float32."""
        return torch.randn(tuple(shape), generator=self._fields, device=self.device)

    def smooth(self, shape: Shape, coarse: int, channels: int = 1) -> Tensor:
        """float32 (channels, K, J, I): standard normal values on ``coarse`` points an axis, between
        them interpolated.
        """
        points = self.noise((1, channels, coarse, coarse, coarse))
        return F.interpolate(points, size=shape, mode="trilinear", align_corners=True)[0]
