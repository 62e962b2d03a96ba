"""From an image to a grid of tokens, and the transformer block that works on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.compiler import is_exporting

from MedLLMSegLib.core.types import Triple

from .attention import GridAttention


class ImageNorm(nn.Module):
    """Batch normalisation with each image's own mean and deviation, in training and afterwards.

    In mathematics that is `nn.InstanceNorm3d`. For one image torch's batch normalisation computes
    the same, and makes no copy where the channels lie last: a sixth faster on a CPU.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, K, J, I) -> the same shape."""
        if is_exporting():
            return F.instance_norm(x, weight=self.weight, bias=self.bias)
        if len(x) == 1:
            return self._normalised(x)
        return torch.cat([self._normalised(image) for image in x[:, None]])

    def _normalised(self, image: Tensor) -> Tensor:
        return F.batch_norm(image, None, None, self.weight, self.bias, training=True)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": lambda channels: nn.InstanceNorm3d(channels, affine=True),
    "image": ImageNorm,
}


class ResidualBlock(nn.Module):
    """Two convolutions with norms and a shortcut (He et al. 2016, as in nnU-Net ResEnc).

    norm: one of `NORMS`.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        stride: Triple = (1, 1, 1),
        kernel: Triple = (3, 3, 3),
        norm: str = "instance",
    ):
        super().__init__()
        k, j, i = kernel
        padding = (k // 2, j // 2, i // 2)
        self.conv1 = nn.Conv3d(channels_in, channels_out, kernel, stride, padding, bias=False)
        self.norm1 = NORMS[norm](channels_out)
        self.conv2 = nn.Conv3d(channels_out, channels_out, kernel, padding=padding, bias=False)
        self.norm2 = NORMS[norm](channels_out)
        self.shortcut: nn.Module
        if channels_in == channels_out and max(stride) == 1:
            self.shortcut = nn.Identity()
        else:
            self.shortcut = nn.Conv3d(channels_in, channels_out, stride, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C_in, K, J, I) -> (B, C_out, K / s_k, J / s_j, I / s_i), rounded up."""
        y = F.leaky_relu(self.norm1(self.conv1(x)), 0.01)
        y = self.norm2(self.conv2(y))
        return F.leaky_relu(y + self.shortcut(x), 0.01)


class PatchEmbedding(nn.Module):
    """Each patch becomes a token by one linear map (Dosovitskiy et al. 2021); there are no finer
    features.
    """

    def __init__(self, channels: int, width: int, patch: Triple):
        super().__init__()
        self.project = nn.Conv3d(channels, width, patch, patch)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """image (B, C, K, J, I) -> tokens (B, D, K / p_k, J / p_j, I / p_i), and no skips."""
        return self.project(image), []


class ConvStem(nn.Module):
    """Residual stages that halve the grid until a voxel is a token; each stage's features are a
    skip.

    stages: channels of each stage. strides: (k, j, i) on the way out of each stage; the last one
    leads to the tokens. norm: of the stages, as in `ResidualBlock`.
    """

    def __init__(
        self,
        channels: int,
        stages: tuple[int, ...],
        width: int,
        strides: tuple[Triple, ...],
        kernels: tuple[Triple, ...],
        norm: str = "instance",
    ):
        super().__init__()
        inputs = (channels, *stages[:-1])
        strides_in = ((1, 1, 1), *strides[:-1])
        self.stages = nn.ModuleList(
            ResidualBlock(*parameters, norm=norm)
            for parameters in zip(inputs, stages, strides_in, kernels, strict=True)
        )
        self.project = nn.Conv3d(stages[-1], width, strides[-1], strides[-1])

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """image (B, C, K, J, I) -> tokens (B, D, K / p_k, J / p_j, I / p_i), and the skips, finest
        first: (B, C_n, K_n, J_n, I_n) each.
        """
        x = image
        skips = []
        for stage in self.stages:
            x = stage(x)  # (B, C_n, K_n, J_n, I_n)
            skips.append(x)
        return self.project(x), skips


class LearnedPosition(nn.Module):
    """A learned vector for each place of a grid (k, j, i), interpolated to other grids."""

    def __init__(self, width: int, grid: Triple):
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, width, *grid) * 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, D, k, j, i) -> (B, D, k, j, i)."""
        grid = tokens.shape[2:]
        if self.table.shape[2:] == grid:
            return tokens + self.table
        return tokens + F.interpolate(
            self.table, size=grid, mode="trilinear", align_corners=False
        )  # (1, D, k, j, i)


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP (ViT)."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, hybrid: bool, rotary: bool, dropout: float
    ):
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.attention = GridAttention(width, heads, hybrid, rotary)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: Triple) -> Tensor:
        """x (B, N, D) with N = k j i of `grid` -> (B, N, D)."""
        x = x + self.dropout(self.attention(self.norm1(x), grid))
        return x + self.dropout(self.mlp(self.norm2(x)))


def to_tokens(volume: Tensor) -> Tensor:
    """(B, D, k, j, i) -> (B, N, D) with N = k j i."""
    return rearrange(volume, "b d k j i -> b (k j i) d")


def to_volume(tokens: Tensor, grid: Triple) -> Tensor:
    """(B, N, D) with N = k j i of `grid` -> (B, D, k, j, i)."""
    k, j, i = grid
    return rearrange(tokens, "b (k j i) d -> b d k j i", k=k, j=j, i=i)


def spatial_shape(volume: Tensor) -> Triple:
    """The last three axes of (B, C, k, j, i)."""
    k, j, i = volume.shape[2:]
    return k, j, i
