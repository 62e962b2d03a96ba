"""A residual U-Net for volumes (Zhang et al. 2018, arXiv 1711.10684; Kerfoot et al. 2019, DOI
10.1007/978-3-030-12029-0_40).

The names of its parameters are those of MONAI's `UNet`, with which the shipped localizer was
trained. So old weights load unchanged, and a test holds that both networks give the same logits.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


class ConvUnit(nn.Sequential):
    """A convolution, then instance normalisation and PReLU.

    conv: its output has ``channels`` channels. activate: False for the convolution alone.
    """

    def __init__(self, conv: nn.Module, channels: int, activate: bool = True) -> None:
        super().__init__(OrderedDict(conv=conv))
        if activate:
            norm = nn.InstanceNorm3d(channels, affine=True)
            self.add_module("adn", nn.Sequential(OrderedDict(N=norm, A=nn.PReLU())))


class ResidualUnit(nn.Module):
    """``units`` convolutions of 3 voxels, added to what came in.

    stride: of the first convolution. last_activates: False leaves the last convolution bare, for
    logits. Where the shape changes, what came in passes a convolution of its own.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        units: int,
        stride: int = 1,
        last_activates: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Sequential()
        for number in range(units):
            first, last = number == 0, number == units - 1
            conv = nn.Conv3d(
                in_channels if first else out_channels,
                out_channels,
                kernel_size=3,
                stride=stride if first else 1,
                padding=1,
            )
            self.conv.add_module(
                f"unit{number}", ConvUnit(conv, out_channels, last_activates or not last)
            )
        self.residual: nn.Module = nn.Identity()
        if stride != 1:
            self.residual = nn.Conv3d(in_channels, out_channels, 3, stride, padding=1)
        elif in_channels != out_channels:
            self.residual = nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, K, J, I) -> (B, out, K / stride, J / stride, I / stride)."""
        residual: torch.Tensor = self.residual(x)
        return residual + self.conv(x)


class SkipConnection(nn.Module):
    """What came in, followed along the channels by what the levels below make of it."""

    def __init__(self, below: nn.Module) -> None:
        super().__init__()
        self.submodule = below

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, K, J, I) -> (B, C + what is below, K, J, I)."""
        return torch.cat((x, self.submodule(x)), dim=1)


class ResidualUNet(nn.Module):
    """A U-Net that halves the resolution at every level but the last.

    channels: feature maps of each level, the finest (1/2 of the input's resolution) first; the
    last two have the same resolution. units: convolutions of a residual unit on the way down.
    """

    def __init__(
        self, in_channels: int, out_channels: int, channels: tuple[int, ...], units: int
    ) -> None:
        super().__init__()
        self.model = _level(in_channels, out_channels, channels, units, top=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, K, J, I) -> (B, out, K, J, I).

        Each axis has to be a multiple of 2 ** (len(channels) - 1) voxels.
        """
        logits: torch.Tensor = self.model(x)
        return logits


def _level(
    in_channels: int, out_channels: int, channels: tuple[int, ...], units: int, top: bool = False
) -> nn.Sequential:
    """One level and all below it: down, the levels below with a skip connection, and up again."""
    here, *deeper = channels
    below: nn.Module
    if len(deeper) > 1:
        below, below_channels = _level(here, here, tuple(deeper), units), here
    else:
        below, below_channels = ResidualUnit(here, deeper[0], units), deeper[0]
    down = ResidualUnit(in_channels, here, units, stride=2)
    widen = nn.ConvTranspose3d(
        here + below_channels, out_channels, 3, stride=2, padding=1, output_padding=1
    )
    up = nn.Sequential(
        ConvUnit(widen, out_channels),
        ResidualUnit(out_channels, out_channels, units=1, last_activates=not top),
    )
    return nn.Sequential(down, SkipConnection(below), up)
