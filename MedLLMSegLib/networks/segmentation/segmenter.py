"""MedVisionLlama: a vision transformer for 3D segmentation with a frozen language-model block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.llm.frozen_weights import FrozenBlock
from MedLLMSegLib.networks.parts.decoder import ConvDecoder
from MedLLMSegLib.networks.parts.queries import QueryHead
from MedLLMSegLib.networks.parts.vit import spatial_shape, to_tokens, to_volume


@dataclass(frozen=True)
class SegmenterParts:
    """The finished parts of a `MedVisionLlama`.

    embedding: image -> (tokens, skips). position: adds learned positions, or None. blocks: the
    transformer blocks, whose tokens have `width` channels. llm: the frozen block with its
    projections, or None. llm_after: the number of transformer blocks before it (0 is the head,
    before any position is known, as in the published code). fusion: combines features of several
    depths and scales, or None. decoder: (tokens, skips) -> logits. patch: voxels (k, j, i) that
    become one token.
    """

    embedding: nn.Module
    position: nn.Module | None
    blocks: nn.ModuleList
    width: int
    llm: FrozenBlock | None
    llm_after: int
    fusion: nn.Module | None
    decoder: nn.Module
    patch: Triple


class MedVisionLlama(nn.Module):
    """The paper's ViT baseline, the paper's model and ours: three sets of parts of one class.

    After arXiv 2410.02458; see docs/architecture.md for what is the paper's and what is ours.
    """

    def __init__(self, parts: SegmenterParts):
        super().__init__()
        self.embedding = parts.embedding
        self.position = parts.position
        self.blocks = parts.blocks
        self.llm = parts.llm
        self.llm_after = parts.llm_after
        self.patch = parts.patch
        self.norm = nn.LayerNorm(parts.width)
        self.fusion = parts.fusion
        self.decoder = parts.decoder

    def forward(self, image: Tensor, voxel: int | None = None) -> Tensor | list[Tensor]:
        """image (B, C, K, J, I) of any size -> logits (B, classes, K, J, I).

        voxel: for a loss that samples them, the logits of this voxel alone of each block that the
        network folds (`QueryHead`): (B, classes, K / f, J / f, I / f), padding included.

        While training with deep supervision: a list, finest first; one that a stage halved n times
        along an axis has ceil(size / 2^n) voxels along it.
        """
        size = spatial_shape(image)
        padded = pad_to_multiple(image, self.patch)  # (B, C, K', J', I')
        padded_size = spatial_shape(padded)
        deepest, skips = self.look(padded)
        if voxel is not None:
            return self.decoder(deepest, skips, voxel)  # (B, classes, K' / f, J' / f, I' / f)
        logits = self.decoder(deepest, skips)  # (B, classes, K', J', I'), or a list
        if isinstance(logits, list):
            return [cut_padding(coarse, size, padded_size) for coarse in logits]
        return cut_padding(logits, size, padded_size)

    def logit_slabs(self, image: Tensor, planes: int = 16) -> Iterator[Tensor]:
        """`forward` of a network in evaluation, slab by slab along k: (B, classes, planes, J, I).

        A network of many structures in blocks (`QueryHead`) never holds the logits of a whole image
        so, which take more memory than all else. Others give one slab.
        """
        decoder = self.decoder
        if not (isinstance(decoder, ConvDecoder) and isinstance(decoder.head, QueryHead)):
            yield self(image)
            return
        head = decoder.head
        size = spatial_shape(image)
        padded = pad_to_multiple(image, self.patch)  # (B, C, K', J', I')
        deepest, skips = self.look(padded)
        features = decoder.stages(deepest, skips)[-1]  # (B, C, K' / f, J' / f, I' / f)
        del deepest, skips, padded  # in most of the memory that is needed now
        places = max(1, planes // head.fold)
        for first in range(0, -(-size[0] // head.fold), places):
            logits = head(features[:, :, first : first + places])
            left = size[0] - first * head.fold
            yield logits[:, :, :left, : size[1], : size[2]]

    def look(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """image (B, C, K, J, I) of whole tokens -> what the decoder needs: the deepest features (B,
        D, k, j, i), and the skips (B, C_n, K_n, J_n, I_n).
        """
        volume, skips = self.embedding(image)  # (B, D, k, j, i), list of (B, C_n, K_n, J_n, I_n)
        deepest, depths = self.encode(volume)  # (B, D, k, j, i), list of the same
        if self.fusion is not None:
            deepest = self.fusion([*depths, *skips], deepest)  # (B, D, k, j, i)
        return deepest, skips

    def encode(self, volume: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Token volume (B, D, k, j, i) -> the deepest features, and those after the embedding and
        after half the blocks: (B, D, k, j, i) each.
        """
        grid = spatial_shape(volume)
        embedded = volume
        if self.llm is not None and self.llm_after == 0:
            volume = to_volume(self.llm(to_tokens(volume)), grid)
        if self.position is not None:
            volume = self.position(volume)
        x = to_tokens(volume)  # (B, N, D)
        middle = x
        half = (len(self.blocks) + 1) // 2
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, grid)  # (B, N, D)
            if self.llm is not None and number == self.llm_after:
                x = self.llm(x)  # (B, N, D)
            if number == half:
                middle = x
        return to_volume(self.norm(x), grid), [embedded, to_volume(middle, grid)]


def cut_padding(logits: Tensor, size: Triple, padded: Triple) -> Tensor:
    """Logits (B, C, k, j, i) over a padded image, cut to the voxels that hold some of the image.

    size, padded: (K, J, I) of the image before and after the padding; the logits' own grid may be
    coarser.
    """
    k, j, i = (
        -(-n * grid // full)  # rounded up
        for n, grid, full in zip(size, spatial_shape(logits), padded, strict=True)
    )
    return logits[:, :, :k, :j, :i]


def pad_to_multiple(image: Tensor, multiple: Triple) -> Tensor:
    """Repeat the last voxels of (B, C, K, J, I) until every axis is a multiple of its number (k,
    j, i).
    """
    k, j, i = (-n % m for n, m in zip(spatial_shape(image), multiple, strict=True))
    if not (k or j or i):
        return image
    return F.pad(image, (0, i, 0, j, 0, k), mode="replicate")
