"""From the token grid back to a class score for each voxel."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
from einops import rearrange
from torch import Tensor, nn

from MedLLMSegLib.core.types import Triple

from .queries import QueryHead
from .vit import ResidualBlock


class LinearDecoder(nn.Module):
    """One linear layer turns a token into the scores of all voxels of its patch (as published)."""

    def __init__(self, width: int, classes: int, patch: Triple):
        super().__init__()
        self.classes = classes
        self.patch = patch
        self.project = nn.Conv3d(width, classes * prod(patch), 1)

    def forward(self, tokens: Tensor, skips: list[Tensor]) -> Tensor:
        """tokens (B, D, k, j, i) -> logits (B, classes, k p_k, j p_j, i p_i), without the skips."""
        scores = self.project(tokens)  # (B, classes p_k p_j p_i, k, j, i)
        pk, pj, pi = self.patch
        return rearrange(
            scores,
            "b (c pk pj pi) k j i -> b c (k pk) (j pj) (i pi)",
            c=self.classes,
            pk=pk,
            pj=pj,
            pi=pi,
        )


class ConvDecoder(nn.Module):
    """Doubles the grid stage by stage and joins the stem's skip of that size, as a U-Net does.

    classes: of the logits, or a finished `QueryHead` that makes them. norm: as in `ResidualBlock`.
    deep_supervision: while training, each coarser stage gives logits too (Lee et al. 2015, as in
    nnU-Net). Their heads are part of the state, and evaluation leaves them out.
    """

    def __init__(
        self,
        width: int,
        skip_channels: tuple[int, ...],
        classes: int | QueryHead,
        strides: tuple[Triple, ...],
        kernels: tuple[Triple, ...],
        deep_supervision: bool = False,
        norm: str = "instance",
    ):
        super().__init__()
        sizes = (width, *reversed(skip_channels))  # channels, from the tokens to the finest skip
        coarse_to_fine = pairwise(sizes)
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(channels_in, channels_out, stride, stride)
            for (channels_in, channels_out), stride in zip(
                coarse_to_fine, reversed(strides), strict=True
            )
        )
        self.join = nn.ModuleList(
            ResidualBlock(2 * channels, channels, kernel=kernel, norm=norm)
            for channels, kernel in zip(sizes[1:], reversed(kernels), strict=True)
        )
        # Registered in this order: the optimiser's state in a checkpoint goes by it.
        self.head: nn.Module
        if isinstance(classes, QueryHead):
            self.head = classes
            supervised: list[nn.Module] = []
        else:
            self.head = nn.Conv3d(sizes[-1], classes, 1)
            coarser = sizes[1:-1] if deep_supervision else ()
            supervised = [nn.Conv3d(channels, classes, 1) for channels in coarser]
        self.coarse_heads = nn.ModuleList(supervised)

    def forward(
        self, tokens: Tensor, skips: list[Tensor], voxel: int | None = None
    ) -> Tensor | list[Tensor]:
        """tokens (B, D, k, j, i), skips (B, C_n, K_n, J_n, I_n), finest first -> logits (B,
        classes, K, J, I) at the finest skip's size; of a `QueryHead` as it gives them.

        While training with deep supervision: a list of such logits at each skip's size, finest
        first.
        """
        stages = self.stages(tokens, skips)
        x = stages[-1]
        if isinstance(self.head, QueryHead):
            return self.head(x, voxel)
        if not (self.training and self.coarse_heads):
            return self.head(x)
        coarser_stages = stages[:-1]
        coarse = [
            head(stage) for head, stage in zip(self.coarse_heads, coarser_stages, strict=True)
        ]
        return [self.head(x), *reversed(coarse)]

    def stages(self, tokens: Tensor, skips: list[Tensor]) -> list[Tensor]:
        """The features of each stage, (B, C_n, K_n, J_n, I_n), coarsest first; see `forward`."""
        x = tokens
        stages = []
        for up, join, skip in zip(self.up, self.join, reversed(skips), strict=True):
            x = join(torch.cat((up(x), skip), dim=1))  # (B, 2 C_n, ...) -> (B, C_n, K_n, J_n, I_n)
            stages.append(x)
        return stages
