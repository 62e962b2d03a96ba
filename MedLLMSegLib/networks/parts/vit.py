"""From an image to a grid of tokens, and the transformer block that works on them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import GridAttention, GridSize

Triple = tuple[int, int, int]  # along (k, j, i)


class ResidualBlock(nn.Module):
    """Two convolutions with instance norm and a shortcut (He et al. 2016, as in nnU-Net ResEnc)."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        stride: Triple = (1, 1, 1),
        kernel: Triple = (3, 3, 3),
    ):
        super().__init__()
        padding = tuple(n // 2 for n in kernel)
        self.conv1 = nn.Conv3d(channels_in, channels_out, kernel, stride, padding, bias=False)
        self.norm1 = nn.InstanceNorm3d(channels_out, affine=True)
        self.conv2 = nn.Conv3d(channels_out, channels_out, kernel, padding=padding, bias=False)
        self.norm2 = nn.InstanceNorm3d(channels_out, affine=True)
        same = channels_in == channels_out and max(stride) == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Conv3d(channels_in, channels_out, stride, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C_in, K, J, I) -> (B, C_out, K / s_k, J / s_j, I / s_i), rounded up."""
        y = F.leaky_relu(self.norm1(self.conv1(x)), 0.01)
        y = self.norm2(self.conv2(y))
        return F.leaky_relu(y + self.shortcut(x), 0.01)


class PatchEmbedding(nn.Module):
    """Each patch becomes a token by one linear map (Dosovitskiy et al. 2021), and nothing finer
    is kept.
    """

    def __init__(self, channels: int, width: int, patch: Triple):
        super().__init__()
        self.project = nn.Conv3d(channels, width, patch, patch)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """image (B, C, K, J, I) -> tokens (B, D, K/p_k, J/p_j, I/p_i) and no skips."""
        return self.project(image), []


class ConvStem(nn.Module):
    """Residual stages that halve the grid until a voxel is a token, keeping each stage's
    features as a skip.
    """

    def __init__(
        self,
        channels: int,
        stages: tuple[int, ...],
        width: int,
        strides: tuple[Triple, ...],
        kernels: tuple[Triple, ...],
    ):
        super().__init__()
        before = [
            (1, 1, 1),
            *strides,
        ]  # how the grid is halved on the way into each stage, and at last to the tokens
        self.stages = nn.ModuleList(
            ResidualBlock(a, b, stride, kernel)
            for a, b, stride, kernel in zip([channels, *stages], stages, before, kernels)
        )
        self.project = nn.Conv3d(stages[-1], width, strides[-1], strides[-1])

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """image (B, C, K, J, I) -> tokens (B, D, K/p_k, J/p_j, I/p_i) and each stage's features,
        finest first.
        """
        skips, x = [], image
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return self.project(x), skips


class LearnedPosition(nn.Module):
    """A learned vector for each place of a grid, interpolated to other grids."""

    def __init__(self, width: int, grid: GridSize):
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, width, *grid) * 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, D, k, j, i) -> (B, D, k, j, i)."""
        table = self.table
        if table.shape[2:] != tokens.shape[2:]:
            table = F.interpolate(
                table, size=tokens.shape[2:], mode="trilinear", align_corners=False
            )
        return tokens + table


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP (ViT)."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, hybrid: bool, rotary: bool, dropout: float
    ):
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = GridAttention(width, heads, hybrid, rotary)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: GridSize) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        x = x + self.dropout(self.attention(self.norm1(x), grid))
        return x + self.dropout(self.mlp(self.norm2(x)))


def to_tokens(volume: Tensor) -> Tensor:
    """(B, D, k, j, i) -> (B, N, D)."""
    return rearrange(volume, "b d k j i -> b (k j i) d")


def to_volume(tokens: Tensor, grid: GridSize) -> Tensor:
    """(B, N, D) -> (B, D, k, j, i)."""
    k, j, i = grid
    return rearrange(tokens, "b (k j i) d -> b d k j i", k=k, j=j, i=i)
