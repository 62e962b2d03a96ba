"""From the token grid back to a class score for each voxel."""
from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from .vit import ResidualBlock


class LinearDecoder(nn.Module):
    """One linear layer turns a token into the scores of all voxels of its patch (as published)."""

    def __init__(self, width: int, classes: int, patch: int):
        super().__init__()
        self.classes, self.patch = classes, patch
        self.project = nn.Conv3d(width, classes * patch ** 3, 1)

    def forward(self, tokens: Tensor, skips: list[Tensor]) -> Tensor:
        """tokens (B, D, k, j, i) -> logits (B, classes, k p, j p, i p)."""
        p = self.patch
        return rearrange(self.project(tokens), "b (c x y z) k j i -> b c (k x) (j y) (i z)", c=self.classes, x=p, y=p, z=p)


class ConvDecoder(nn.Module):
    """Doubles the grid stage by stage and joins the stem's skip of that size (U-Net), so that detail is kept."""

    def __init__(self, width: int, skip_channels: tuple[int, ...], classes: int):
        super().__init__()
        sizes = [width, *reversed(skip_channels)]
        self.up = nn.ModuleList(nn.ConvTranspose3d(a, b, 2, 2) for a, b in zip(sizes, sizes[1:]))
        self.join = nn.ModuleList(ResidualBlock(2 * b, b) for b in sizes[1:])
        self.head = nn.Conv3d(sizes[-1], classes, 1)

    def forward(self, tokens: Tensor, skips: list[Tensor]) -> Tensor:
        """tokens (B, D, k, j, i), skips fine to coarse -> logits (B, classes, K, J, I) at the finest skip's size."""
        x = tokens
        for up, join, skip in zip(self.up, self.join, reversed(skips)):
            x = join(torch.cat((up(x), skip), dim=1))
        return self.head(x)
