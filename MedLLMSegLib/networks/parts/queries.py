"""The last layer as a product of a voxel's features and one vector a structure; voxels in blocks.

A network that works on blocks of voxels sees each block as channels ("folded", space to depth), and
its last layer gives each voxel of a block logits of its own (depth to space).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .vit import ConvStem


class FoldedStem(nn.Module):
    """A stem that sees every block of fold x fold x fold voxels as one place with more channels."""

    def __init__(self, stem: ConvStem, fold: int):
        super().__init__()
        self.stem = stem
        self.fold = fold

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """image (B, C, K f, J f, I f) -> the stem's tokens and skips of (B, C f^3, K, J, I)."""
        return self.stem(folded(image, self.fold))


def folded(image: Tensor, fold: int) -> Tensor:
    """(B, C, K f, J f, I f) -> (B, C f^3, K, J, I): the voxels of a block, in the order k, j, i."""
    return rearrange(image, "b c (k a) (j d) (i e) -> b (c a d e) k j i", a=fold, d=fold, e=fold)


class QueryHead(nn.Module):
    """Logits of structures: the product of what is seen at a voxel and one vector a structure.

    The voxels of a block have features of their own; the vectors ("queries") are the same for all.
    classes: background included. sides: one more vector, whose logit says right rather than left.
    """

    def __init__(self, channels: int, classes: int, fold: int, sides: bool, width: int = 32):
        super().__init__()
        self.fold = fold
        self.width = width
        outputs = classes + sides
        self.queries = nn.Parameter(torch.randn(outputs, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.features = nn.Parameter(torch.randn(fold**3, width, channels) * channels**-0.5)

    def forward(self, x: Tensor, voxel: int | None = None) -> Tensor:
        """x (B, C, k, j, i) -> logits (B, outputs, k f, j f, i f).

        voxel: only of this voxel (0 to f^3 - 1, in the order k, j, i) of each block: (B, outputs,
        k, j, i). Nothing stands between the two products, so they are one: (outputs, C) a voxel.
        """
        if voxel is not None:
            kernel = self.queries @ self.features[voxel]  # (outputs, C)
            return F.conv3d(x, kernel[:, :, None, None, None], self.bias)
        kernels = torch.einsum("od,vdc->ovc", self.queries, self.features)  # (outputs, f^3, C)
        bias = self.bias.repeat_interleave(self.fold**3)
        logits = F.conv3d(x, kernels.flatten(0, 1)[:, :, None, None, None], bias)
        f = self.fold
        return rearrange(logits, "b (o a d e) k j i -> b o (k a) (j d) (i e)", a=f, d=f, e=f)
