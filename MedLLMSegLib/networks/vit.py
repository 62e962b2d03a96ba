"""From an image to a grid of tokens, and the transformer block that works on them."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import Attention, GridSize


class ResidualBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions with instance norm and a shortcut (He et al. 2016, as in nnU-Net ResEnc)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv3d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.InstanceNorm3d(channels_out, affine=True)
        self.conv2 = nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.InstanceNorm3d(channels_out, affine=True)
        same = channels_in == channels_out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv3d(channels_in, channels_out, stride, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C_in, K, J, I) -> (B, C_out, K / stride, J / stride, I / stride)."""
        y = F.leaky_relu(self.norm1(self.conv1(x)), 0.01)
        y = self.norm2(self.conv2(y))
        return F.leaky_relu(y + self.shortcut(x), 0.01)


class PatchEmbedding(nn.Module):
    """Each patch becomes a token by one linear map (Dosovitskiy et al. 2021), and nothing finer is kept."""

    def __init__(self, channels: int, width: int, patch: int):
        super().__init__()
        self.project = nn.Conv3d(channels, width, patch, patch)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """image (B, C, K, J, I) -> tokens (B, D, K/p, J/p, I/p) and no skips."""
        return self.project(image), []


class ConvStem(nn.Module):
    """Residual stages that halve the grid until a voxel is a token, keeping each stage's features as a skip."""

    def __init__(self, channels: int, stages: tuple[int, ...], width: int):
        super().__init__()
        sizes = [channels, *stages]
        self.stages = nn.ModuleList(
            ResidualBlock(a, b, stride=1 if n == 0 else 2) for n, (a, b) in enumerate(zip(sizes, sizes[1:])))
        self.project = nn.Conv3d(stages[-1], width, 2, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """image (B, C, K, J, I) -> tokens (B, D, K/p, J/p, I/p) and skips at full, 1/2, 1/4 ... size."""
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
            table = F.interpolate(table, size=tokens.shape[2:], mode="trilinear", align_corners=False)
        return tokens + table


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP (ViT)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, hybrid: bool, rotary: bool, dropout: float):
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, hybrid, rotary)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
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
