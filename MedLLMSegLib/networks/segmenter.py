"""MedVisionLlama: a vision transformer for 3D segmentation that holds a frozen language-model block."""
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .vit import to_tokens, to_volume


class MedVisionLlama(nn.Module):
    """The paper's ViT baseline, the paper's model and ours are three sets of parts of this one class.

    After arXiv 2410.02458; see docs/architecture.md for what is the paper's and what is ours.

    embedding: image -> (tokens, skips). position: adds learned positions, or None.
    blocks: transformer blocks. llm: the frozen block with its projections, or None.
    llm_after: after how many blocks it stands (0 is the head, before any position is known, as in the published code).
    fusion: combines features of several depths and scales, or None. decoder: (tokens, skips) -> logits.
    patch: voxels a token spans along each axis.
    """

    def __init__(self, embedding: nn.Module, position: nn.Module | None, blocks: nn.ModuleList, llm: nn.Module | None,
                 llm_after: int, fusion: nn.Module | None, decoder: nn.Module, patch: int):
        super().__init__()
        self.embedding, self.position, self.blocks = embedding, position, blocks
        self.llm, self.llm_after, self.patch = llm, llm_after, patch
        self.norm = nn.LayerNorm(blocks[0].norm1.normalized_shape)
        self.fusion, self.decoder = fusion, decoder

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, K, J, I) of any size -> logits (B, classes, K, J, I)."""
        size = image.shape[2:]
        padded = pad_to_multiple(image, self.patch)
        volume, skips = self.embedding(padded)  # (B, D, k, j, i)
        deepest, depths = self.encode(volume)
        if self.fusion is not None:
            deepest = self.fusion([*depths, *skips], deepest)
        logits = self.decoder(deepest, skips)
        return logits[:, :, :size[0], :size[1], :size[2]]

    def encode(self, volume: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Token volume (B, D, k, j, i) -> the deepest features, and those after the embedding and half the blocks."""
        grid = volume.shape[2:]
        embedded = volume
        if self.llm is not None and self.llm_after == 0:
            volume = to_volume(self.llm(to_tokens(volume)), grid)
        if self.position is not None:
            volume = self.position(volume)
        x = to_tokens(volume)  # (B, N, D)
        middle = x
        for done, block in enumerate(self.blocks, start=1):
            x = block(x, grid)
            if self.llm is not None and done == self.llm_after:
                x = self.llm(x)
            if done == (len(self.blocks) + 1) // 2:
                middle = x
        return to_volume(self.norm(x), grid), [embedded, to_volume(middle, grid)]


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last voxels of (B, C, K, J, I) until every axis is a multiple."""
    missing = [-n % multiple for n in image.shape[2:]]
    if not any(missing):
        return image
    return F.pad(image, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
