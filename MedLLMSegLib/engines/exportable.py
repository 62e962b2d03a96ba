"""Which parts of a network become graphs, and which sizes of image these take."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.networks.parts.decoder import ConvDecoder
from MedLLMSegLib.networks.parts.queries import FoldedStem, QueryHead
from MedLLMSegLib.networks.parts.vit import ConvStem, PatchEmbedding, ResidualBlock
from MedLLMSegLib.networks.segmentation.localizer_network import LocalizerNet
from MedLLMSegLib.networks.segmentation.segmenter import MedVisionLlama

NETWORK, HEAD = "network", "head"
EXAMPLE_STEPS = (5, 6, 7)  # of each axis, in multiples: all different, and none that halves to one


@dataclass(frozen=True, eq=False)
class GraphPart:
    """A part of a network that becomes one graph.

    module: (B, C, k, j, i) -> (B, C', k', j', i'). example: an input. multiple: each axis (k, j, i)
    of an input has to be a multiple of so many voxels; None for a graph of the example's size
    alone. any_batch: whether the batch may be of any size, too; else it is the example's. fold:
    voxels of an input along each axis for one place of the output.
    """

    name: str
    module: nn.Module
    example: Tensor
    multiple: Triple | None
    any_batch: bool = False
    fold: int = 1


def graph_parts(network: nn.Module) -> tuple[GraphPart, ...]:
    """The parts of a network of ours, in the order in which an image passes them.

    A network of many structures is cut before its last layer: so the logits of a whole head, which
    take more memory than all else, can be made slab by slab. Raises `UserError` for networks of
    other kinds.
    """
    if isinstance(network, LocalizerNet):
        step = network.config.multiple
        multiple = (step, step, step)
        return (GraphPart(NETWORK, network, _example(1, multiple, 2), multiple, any_batch=True),)
    if isinstance(network, Classifier):
        return (_classifier_part(network),)
    if not isinstance(network, MedVisionLlama):
        raise UserError(f"A network of the kind {type(network).__name__} cannot be exported.")
    image = _example(_image_channels(network.embedding), network.patch)
    decoder = network.decoder
    if not (isinstance(decoder, ConvDecoder) and isinstance(decoder.head, QueryHead)):
        return (GraphPart(NETWORK, network, image, network.patch),)
    features = _Features(network)
    channels = decoder.head.features.shape[2]
    return (
        GraphPart(NETWORK, features, image, network.patch, fold=decoder.head.fold),
        GraphPart(HEAD, decoder.head, _example(channels, (1, 1, 1)), (1, 1, 1)),
    )


def _image_channels(embedding: nn.Module) -> int:
    """How many channels the images have that an embedding takes."""
    if isinstance(embedding, FoldedStem):
        return _image_channels(embedding.stem) // embedding.fold**3
    if isinstance(embedding, ConvStem):
        first = embedding.stages[0]
        assert isinstance(first, ResidualBlock)
        return first.conv1.in_channels
    assert isinstance(embedding, PatchEmbedding)
    return embedding.project.in_channels


def _classifier_part(network: Classifier) -> GraphPart:
    """Its images all have one size, and so has the graph."""
    config = network.config
    if config.record is not None or config.kind == "cnn-lstm":
        raise UserError(
            "A classifier of sequences or of records cannot be exported, only of images."
        )
    size = config.encoder.image_size
    image = torch.randn((1, config.encoder.channels, size, size))
    return GraphPart(NETWORK, _OfImage(network), image, None)


class _OfImage(nn.Module):
    """A classifier of one image."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """image (1, C, H, W) -> logits (1, classes)."""
        return self.network({"image": image})


def _example(channels: int, multiple: Triple, batch: int = 1) -> Tensor:
    k, j, i = (step * size for step, size in zip(EXAMPLE_STEPS, multiple, strict=True))
    generator = torch.Generator().manual_seed(0)
    return torch.randn((batch, channels, k, j, i), generator=generator)


class _Features(nn.Module):
    """A network up to its last layer."""

    def __init__(self, network: MedVisionLlama) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """image (1, 1, K, J, I) -> features (1, C, K / fold, J / fold, I / fold)."""
        deepest, skips = self.network.look(image)
        decoder = self.network.decoder
        assert isinstance(decoder, ConvDecoder)
        return decoder.stages(deepest, skips)[-1]
