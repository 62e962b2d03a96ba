"""A network whose arithmetic an engine does, in the place of one of torch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.networks.segmentation.segmenter import pad_to_multiple

from .graph import FP32, Graph

SLAB_PLANES = 16  # of logits that are made at once


class EngineNetwork(nn.Module):
    """Graphs behind the face of a network: images in, logits out, always on the CPU.

    network: image -> logits, or features where there is a head. head: features -> logits of each
    slab. multiple: each axis (k, j, i) of an image is padded to a multiple of so many voxels.
    """

    def __init__(
        self, engine: str, network: Graph, head: Graph | None, multiple: Triple, fold: int = 1
    ) -> None:
        super().__init__()
        self.engine = engine
        self.network = network
        self.head = head
        self.multiple = multiple
        self.fold = fold

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, K, J, I) -> logits (B, outputs, K, J, I), in fp32."""
        return self.logits_in(image, FP32)

    def logits_in(self, image: Tensor, precision: str) -> Tensor:
        """`forward` in a precision, "fp32" or "bf16"; the logits are float32."""
        return torch.cat(list(self.slabs_in(image, precision)), dim=2)

    def slabs_in(self, image: Tensor, precision: str) -> Iterator[Tensor]:
        """As `logits_in`, slab by slab along k: (B, outputs, planes, J, I)."""
        k, j, i = image.shape[2:]
        padded = pad_to_multiple(image, self.multiple)
        found = _run(self.network, padded, precision)
        if self.head is None:
            yield found[:, :, :k, :j, :i]
            return
        places = max(1, SLAB_PLANES // self.fold)
        for first in range(0, -(-k // self.fold), places):
            slab = found[:, :, first : first + places]
            logits = _run(self.head, slab, FP32)  # one small product: bf16 gains nothing
            yield logits[:, :, : k - first * self.fold, :j, :i]


def _run(graph: Graph, image: Tensor, precision: str) -> Tensor:
    array = image.detach().contiguous().numpy()
    return torch.from_numpy(graph(array, precision))
