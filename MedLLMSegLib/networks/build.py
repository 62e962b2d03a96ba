"""`build_network`, which alone knows the parts' names: a configuration and the language model's
layers -> a segmentation network.
"""

from __future__ import annotations

from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.block import LlamaBlock
from MedLLMSegLib.llm.frozen_weights import FrozenBlock
from MedLLMSegLib.llm.weights import LlamaWeights
from MedLLMSegLib.networks.parts.decoder import ConvDecoder, LinearDecoder
from MedLLMSegLib.networks.parts.fusion import MultiScaleFusion
from MedLLMSegLib.networks.parts.queries import FoldedStem, QueryHead
from MedLLMSegLib.networks.parts.vit import (
    ConvStem,
    LearnedPosition,
    PatchEmbedding,
    TransformerBlock,
)
from MedLLMSegLib.networks.segmentation.segmenter import MedVisionLlama, SegmenterParts
from MedLLMSegLib.registry.network_config import NetworkConfig


def build_network(config: NetworkConfig, llm: LlamaWeights | None = None) -> MedVisionLlama:
    """Put a network together.

    llm: the layers that ``config.llm`` names, read by `llm.store.resolve`; None exactly if
    ``config.llm`` is None. New weights are drawn from torch's global random state.
    """
    if (config.llm is None) != (llm is None):
        raise UserError(
            "The network's configuration and the language-model layers handed over do not match; "
            "give the layers that the configuration names, or neither."
        )
    embedding = _embedding(config)
    blocks = nn.ModuleList(
        TransformerBlock(
            config.width,
            config.heads,
            config.mlp_ratio,
            hybrid=config.attention == "hybrid",
            rotary=config.position == "rotary",
            dropout=config.dropout,
        )
        for _ in range(config.depth)
    )
    position = _learned_position(config)
    fusion = _fusion(config)
    decoder = _decoder(config)
    return MedVisionLlama(
        SegmenterParts(
            embedding=embedding,
            position=position,
            blocks=blocks,
            width=config.width,
            llm=_frozen_block(config, llm),
            llm_after=_blocks_before_llm(config),
            fusion=fusion,
            decoder=decoder,
            patch=config.patch,
        )
    )


def _embedding(config: NetworkConfig) -> nn.Module:
    if config.embedding == "patch":
        return PatchEmbedding(config.in_channels, config.width, config.patch)
    stem = ConvStem(
        config.in_channels * config.fold**3,
        config.stem_channels,
        config.width,
        config.strides,
        config.kernels,
        config.norm,
    )
    return stem if config.fold == 1 else FoldedStem(stem, config.fold)


def _learned_position(config: NetworkConfig) -> nn.Module | None:
    if config.position != "learned":
        return None
    k, j, i = config.grid
    return LearnedPosition(config.width, (k, j, i))


def _fusion(config: NetworkConfig) -> nn.Module | None:
    """Its sources: two depths of the encoder, and each stage of a stem."""
    if not config.fusion:
        return None
    scales = config.stem_channels if config.embedding == "stem" else ()
    return MultiScaleFusion(config.width, [config.width, config.width, *scales])


def _decoder(config: NetworkConfig) -> nn.Module:
    if config.decoder == "linear":
        return LinearDecoder(config.width, config.classes, config.patch)
    finest = config.stem_channels[0]
    queries = (
        QueryHead(finest, config.classes, config.fold, config.sides)
        if config.head == "queries"
        else None
    )
    return ConvDecoder(
        config.width,
        config.stem_channels,
        queries or config.classes,
        config.strides,
        config.kernels,
        config.deep_supervision,
        config.norm,
    )


def _blocks_before_llm(config: NetworkConfig) -> int:
    if config.llm is None:
        return 0
    places = {"head": 0, "middle": (config.depth + 1) // 2, "tail": config.depth}
    return places[config.llm.position]


def _frozen_block(config: NetworkConfig, llm: LlamaWeights | None) -> FrozenBlock | None:
    if llm is None or config.llm is None:
        return None
    count = llm.config.num_layers
    numbers = [n % count for n in config.llm.layers]  # negative layers count from the end
    layers = nn.ModuleList(LlamaBlock.from_weights(llm, n) for n in numbers)
    return FrozenBlock(config.width, llm.config.hidden_size, layers, config.llm)
