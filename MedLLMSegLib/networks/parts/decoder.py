"""From the token grid back to a class score for each voxel."""

from __future__ import annotations

from math import prod

import torch
from einops import rearrange
from torch import Tensor, nn

from .vit import ResidualBlock, Triple


class LinearDecoder(nn.Module):
    """One linear layer turns a token into the scores of all voxels of its patch (as published)."""

    def __init__(self, width: int, classes: int, patch: Triple):
        super().__init__()
        self.classes, self.patch = classes, patch
        self.project = nn.Conv3d(width, classes * prod(patch), 1)

    def forward(self, tokens: Tensor, skips: list[Tensor]) -> Tensor:
        """tokens (B, D, k, j, i) -> logits (B, classes, k p_k, j p_j, i p_i)."""
        x, y, z = self.patch
        return rearrange(
            self.project(tokens),
            "b (c x y z) k j i -> b c (k x) (j y) (i z)",
            c=self.classes,
            x=x,
            y=y,
            z=z,
        )


class ConvDecoder(nn.Module):
    """Doubles the grid stage by stage and joins the stem's skip of that size (U-Net), so that
    detail is kept.

    deep_supervision: while training, each coarser stage gives logits too (Lee et al. 2015, as in
    nnU-Net). Their heads are part of the state, and evaluation leaves them out.
    """

    def __init__(
        self,
        width: int,
        skip_channels: tuple[int, ...],
        classes: int,
        strides: tuple[Triple, ...],
        kernels: tuple[Triple, ...],
        deep_supervision: bool = False,
    ):
        super().__init__()
        sizes = [width, *reversed(skip_channels)]
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(a, b, s, s) for a, b, s in zip(sizes, sizes[1:], reversed(strides))
        )
        self.join = nn.ModuleList(
            ResidualBlock(2 * b, b, kernel=k) for b, k in zip(sizes[1:], reversed(kernels))
        )
        self.head = nn.Conv3d(sizes[-1], classes, 1)
        self.coarse_heads = nn.ModuleList(
            nn.Conv3d(b, classes, 1) for b in sizes[1:-1] if deep_supervision
        )

    def forward(self, tokens: Tensor, skips: list[Tensor]) -> Tensor | list[Tensor]:
        """tokens (B, D, k, j, i), skips fine to coarse -> logits (B, classes, K, J, I) at the
        finest skip's size.

        While training with deep supervision: a list of such logits at each skip's size, finest
        first.
        """
        x, stages = tokens, []
        for up, join, skip in zip(self.up, self.join, reversed(skips)):
            x = join(torch.cat((up(x), skip), dim=1))
            stages.append(x)
        if not (self.training and self.coarse_heads):
            return self.head(x)
        coarse = [head(stage) for head, stage in zip(self.coarse_heads, stages)]
        return [self.head(x), *reversed(coarse)]
