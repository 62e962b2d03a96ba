"""The one function that knows names: a configuration and the language model's layers -> a
network.
"""

from __future__ import annotations

from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.block import LlamaBlock
from MedLLMSegLib.llm.frozen_weights import FrozenBlock
from MedLLMSegLib.llm.weights import LlamaWeights
from MedLLMSegLib.networks.parts.decoder import ConvDecoder, LinearDecoder
from MedLLMSegLib.networks.parts.fusion import MultiScaleFusion
from MedLLMSegLib.networks.parts.vit import (
    ConvStem,
    LearnedPosition,
    PatchEmbedding,
    TransformerBlock,
)
from MedLLMSegLib.networks.segmentation.segmenter import MedVisionLlama
from MedLLMSegLib.registry.network_config import NetworkConfig


def build_network(config: NetworkConfig, llm: LlamaWeights | None = None) -> MedVisionLlama:
    """Put a network together.

    llm: the layers that ``config.llm`` names, read by `llm.store.resolve`; needed exactly if
    ``config.llm`` is set.
    """
    if (config.llm is None) != (llm is None):
        raise UserError(
            "The network's configuration and the language-model layers handed over do not match; "
            "give the layers that the configuration names, or neither."
        )
    stem = config.embedding == "stem"
    embedding = (
        ConvStem(
            config.in_channels, config.stem_channels, config.width, config.strides, config.kernels
        )
        if stem
        else PatchEmbedding(config.in_channels, config.width, config.patch)
    )
    blocks = nn.ModuleList(
        TransformerBlock(
            config.width,
            config.heads,
            config.mlp_ratio,
            config.attention == "hybrid",
            config.position == "rotary",
            config.dropout,
        )
        for _ in range(config.depth)
    )
    position = LearnedPosition(config.width, config.grid) if config.position == "learned" else None
    scales = list(config.stem_channels) if stem else []
    fusion = (
        MultiScaleFusion(config.width, [config.width, config.width, *scales])
        if config.fusion
        else None
    )
    decoder = (
        ConvDecoder(
            config.width,
            config.stem_channels,
            config.classes,
            config.strides,
            config.kernels,
            config.deep_supervision,
        )
        if config.decoder == "conv"
        else LinearDecoder(config.width, config.classes, config.patch)
    )
    after = (
        {"head": 0, "middle": (config.depth + 1) // 2, "tail": config.depth}[config.llm.position]
        if config.llm
        else 0
    )
    return MedVisionLlama(
        embedding,
        position,
        blocks,
        _frozen_block(config, llm),
        after,
        fusion,
        decoder,
        config.patch,
    )


def _frozen_block(config: NetworkConfig, llm: LlamaWeights | None) -> FrozenBlock | None:
    if llm is None:
        return None
    count = llm.config.num_layers
    wanted = [n % count for n in config.llm.layers]  # negative layers count from the end
    layers = nn.ModuleList(LlamaBlock.from_weights(llm, n) for n in wanted)
    return FrozenBlock(config.width, llm.config.hidden_size, layers, config.llm)
