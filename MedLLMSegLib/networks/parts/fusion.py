"""Multi-scale fusion: features of several depths and scales, weighed for each token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.compiler import is_exporting

from MedLLMSegLib.core.types import Triple

from .vit import spatial_shape


class MultiScaleFusion(nn.Module):
    """Combine features of several depths (encoder) and scales (stem) on the token grid.

    The paper draws a fusion block without a formula; this one is our own. Each source is projected
    to the encoder's width and brought to the token grid (finer ones by averaging); a softmax over
    the sources, computed for each token from all of them, weighs them; the sum is added to the
    deepest feature. A last source is the deepest feature itself at half the grid's size, for
    context.
    """

    def __init__(self, width: int, channels: list[int]):
        super().__init__()
        self.project = nn.ModuleList(nn.Conv3d(c, width, 1) for c in [*channels, width])
        sources = len(channels) + 1
        self.weigh = nn.Conv3d(width * sources, sources, 1)
        self.out = nn.Conv3d(width, width, 1)
        with torch.no_grad():  # the block starts as the identity
            for parameter in self.out.parameters():
                parameter.zero_()

    def forward(self, sources: list[Tensor], deepest: Tensor) -> Tensor:
        """sources (B, C_n, K_n, J_n, I_n) each, deepest (B, D, k, j, i) -> (B, D, k, j, i)."""
        grid = spatial_shape(deepest)
        context = context_by_products(deepest) if is_exporting() else context_of(deepest)
        on_grid = [averaged_to(source, grid) for source in sources]  # (B, C_n, k, j, i) each
        projected = [
            project(source)
            for project, source in zip(self.project, [*on_grid, context], strict=True)
        ]  # (B, D, k, j, i) each
        weights = self.weigh(torch.cat(projected, dim=1)).softmax(dim=1)  # (B, S, k, j, i)
        by_source = weights.unsqueeze(2).unbind(1)  # (B, 1, k, j, i) each
        fused = sum(
            weight * features for weight, features in zip(by_source, projected, strict=True)
        )  # (B, D, k, j, i)
        return deepest + self.out(fused)


def context_of(x: Tensor) -> Tensor:
    """x (B, D, k, j, i), averaged to half the grid's size and interpolated back: the same shape."""
    grid = spatial_shape(x)
    k, j, i = (max(1, n // 2) for n in grid)
    coarse = averaged_to(x, (k, j, i))  # (B, D, k / 2, j / 2, i / 2)
    return F.interpolate(coarse, size=grid, mode="trilinear", align_corners=False)


def context_by_products(x: Tensor) -> Tensor:
    """As `context_of`, as one product of matrices along each axis.

    ONNX can average to half an odd number of places only where that number is known, and a graph
    shall take grids of any size.
    """
    for axis in (2, 3, 4):
        there_and_back = _halving(x.shape[axis], x.device)  # (n, n)
        x = (x.movedim(axis, -1) @ there_and_back.T).movedim(-1, axis)
    return x


def _halving(n: int, device: torch.device) -> Tensor:
    """float32 (n, n): n places averaged to n // 2 as torch's adaptive pooling does, and brought
    back by linear interpolation.
    """
    half = torch.sym_max(1, n // 2)
    source = torch.arange(n, device=device)  # (n,)
    place = torch.arange(half, device=device)[:, None]  # (m, 1)
    first, end = place * n // half, ((place + 1) * n + half - 1) // half
    averaged = ((source >= first) & (source < end)).float()  # (m, n)
    averaged = averaged / averaged.sum(dim=1, keepdim=True)
    position = ((source + 0.5) * half / n - 0.5).clamp(min=0)  # (n,), in places
    position = torch.minimum(position, place.max())
    interpolated = (1 - (position[:, None] - place[:, 0]).abs()).clamp(min=0)  # (n, m)
    return interpolated @ averaged


def averaged_to(x: Tensor, grid: Triple) -> Tensor:
    """x (B, C, K, J, I) -> (B, C, *grid), each place the mean of those it covers.

    Where the sizes divide, torch's plain pooling gives the same in a tenth of the time.
    """
    sizes = spatial_shape(x)
    if sizes == grid:
        return x
    k, j, i = (size // places for size, places in zip(sizes, grid, strict=True))
    if (k * grid[0], j * grid[1], i * grid[2]) == sizes:
        return F.avg_pool3d(x, (k, j, i))
    return F.adaptive_avg_pool3d(x, grid)
