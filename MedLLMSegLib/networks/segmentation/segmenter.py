"""MedVisionLlama: a vision transformer for 3D segmentation that holds a frozen language-model
block.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.networks.parts.vit import Triple, to_tokens, to_volume


class MedVisionLlama(nn.Module):
    """The paper's ViT baseline, the paper's model and ours are three sets of parts of this one
    class.

    After arXiv 2410.02458; see docs/architecture.md for what is the paper's and what is ours.

    embedding: image -> (tokens, skips). position: adds learned positions, or None. blocks:
    transformer blocks. llm: the frozen block with its projections, or None. llm_after: after how
    many blocks it stands (0 is the head, before any position is known, as in the published code).
    fusion: combines features of several depths and scales, or None. decoder: (tokens, skips) ->
    logits. patch: voxels (k, j, i) a token spans.
    """

    def __init__(
        self,
        embedding: nn.Module,
        position: nn.Module | None,
        blocks: nn.ModuleList,
        llm: nn.Module | None,
        llm_after: int,
        fusion: nn.Module | None,
        decoder: nn.Module,
        patch: Triple,
    ):
        super().__init__()
        self.embedding, self.position, self.blocks = embedding, position, blocks
        self.llm, self.llm_after, self.patch = llm, llm_after, patch
        self.norm = nn.LayerNorm(blocks[0].norm1.normalized_shape)
        self.fusion, self.decoder = fusion, decoder

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """image (B, C, K, J, I) of any size -> logits (B, classes, K, J, I).

        While training with deep supervision: a list, finest first; one that a stage halved n times
        along an axis has ceil(size / 2^n) voxels along it.
        """
        size = image.shape[2:]
        padded = pad_to_multiple(image, self.patch)
        volume, skips = self.embedding(padded)  # (B, D, k, j, i)
        deepest, depths = self.encode(volume)
        if self.fusion is not None:
            deepest = self.fusion([*depths, *skips], deepest)
        logits = self.decoder(deepest, skips)
        if isinstance(logits, list):
            return [cut_padding(coarse, size, padded.shape[2:]) for coarse in logits]
        return cut_padding(logits, size, padded.shape[2:])

    def encode(self, volume: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Token volume (B, D, k, j, i) -> the deepest features, and those after the embedding
        and half the blocks.
        """
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


def cut_padding(logits: Tensor, size: Triple, padded: Triple) -> Tensor:
    """Logits (B, C, k, j, i) over a padded image, cut to the voxels that hold some of the
    image's own `size`.
    """
    k, j, i = (-(-n * m // p) for n, m, p in zip(size, logits.shape[2:], padded))
    return logits[:, :, :k, :j, :i]


def pad_to_multiple(image: Tensor, multiple: Triple) -> Tensor:
    """Repeat the last voxels of (B, C, K, J, I) until every axis is a multiple of its number (k,
    j, i).
    """
    missing = [-n % m for n, m in zip(image.shape[2:], multiple)]
    if not any(missing):
        return image
    return F.pad(image, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
