"""Self-attention over a 3D grid of tokens: global, or hybrid (global and local, gated)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from MedLLMSegLib.core.types import Triple


def rotary_3d(
    grid: Triple, head_dim: int, device: torch.device | str, base: float = 100.0
) -> tuple[Tensor, Tensor]:
    """Cosine and sine tables (N, head_dim) of a rotary embedding over the axes (k, j, i) of a grid.

    A third of the channel pairs turns with k, a third with j, a third with i; channels left over do
    not turn. This is RoFormer (arXiv 2104.09864) for three axes. The base is small because a grid
    has tens of tokens along an axis, not thousands.
    """
    pairs = head_dim // 6  # channel pairs of each axis
    frequencies = base ** (-torch.arange(pairs, device=device, dtype=torch.float32) / pairs)  # (P,)
    axes = [torch.arange(n, device=device, dtype=torch.float32) for n in grid]
    mesh = torch.meshgrid(*axes, indexing="ij")  # three of (k, j, i)
    positions = torch.stack(mesh, -1).reshape(-1, 3)  # (k, j, i, 3) -> (N, 3)
    angles = (positions[:, :, None] * frequencies).flatten(1)  # (N, 3, P) -> (N, 3 P)
    angles = F.pad(angles, (0, head_dim // 2 - angles.shape[1]))  # (N, head_dim / 2)
    return angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)  # (N, head_dim) each


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the channel pairs (c, c + half) of x (B, H, N, head_dim) by the table's angles.

    table: cosine and sine (N, head_dim). Returns (B, H, N, head_dim).
    """
    cos, sin = (t.to(x.dtype) for t in table)  # (N, head_dim) each
    first, second = x.chunk(2, dim=-1)  # (B, H, N, head_dim / 2) each
    turned = torch.cat((-second, first), dim=-1)  # (B, H, N, head_dim)
    return x * cos + turned * sin


class LocalBranch(nn.Module):
    """Adds the detail that attention over all tokens blurs: a 3 x 3 x 3 depthwise convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv3d(width, width, 3, padding=1, groups=width)

    def forward(self, values: Tensor, grid: Triple) -> Tensor:
        """values (B, N, C) with N = k j i of `grid` -> (B, N, C)."""
        k, j, i = grid
        volume = rearrange(values, "b (k j i) c -> b c k j i", k=k, j=j, i=i)
        return rearrange(self.depthwise(volume), "b c k j i -> b (k j i) c")


class GridAttention(nn.Module):
    """Multi-head self-attention over all tokens, with a gated local branch if `hybrid`.

    The paper names hybrid attention without giving its formula; this one is our own: ``y = g *
    global(x) + (1 - g) * local(v(x))`` with a gate ``g = sigmoid(W x)`` for each token and channel.
    """

    def __init__(self, width: int, heads: int, hybrid: bool, rotary: bool):
        super().__init__()
        self.heads = heads
        self.rotary = rotary
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.local = LocalBranch(width) if hybrid else None
        self.gate = nn.Linear(width, width) if hybrid else None

    def forward(self, x: Tensor, grid: Triple) -> Tensor:
        """x (B, N, C) with N = k j i of `grid` -> (B, N, C)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # (B, N, C) each
        queries, keys, values = (
            rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in (q, k, v)
        )
        if self.rotary:
            table = rotary_3d(grid, queries.shape[-1], x.device)
            queries, keys = rotate(queries, table), rotate(keys, table)
        y = F.scaled_dot_product_attention(queries, keys, values)  # (B, H, N, d)
        y = rearrange(y, "b h n d -> b n (h d)")
        if self.local is not None and self.gate is not None:
            gate = torch.sigmoid(self.gate(x))  # (B, N, C)
            y = gate * y + (1 - gate) * self.local(v, grid)
        return self.out(y)
