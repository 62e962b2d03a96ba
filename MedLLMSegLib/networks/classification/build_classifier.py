"""`build_classifier`, which alone knows the kinds of classifiers: a configuration -> a network; and
the tensors of a network that a bundle stores.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.block import LlamaBlock
from MedLLMSegLib.llm.llama import LlamaWeights
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.llm.text_embeddings import PROMPT_IDS, TextRows, resolve_text_rows
from MedLLMSegLib.networks.controls import random_of_equal_norm, replace_tensors
from MedLLMSegLib.networks.encoders.build_encoder import build_encoder, with_architecture
from MedLLMSegLib.networks.encoders.encoder import Encoder
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, PneumoLLMConfig
from MedLLMSegLib.registry.network_config import LLMConfig

from .classifier import Classifier, LinearProbe, MeanPooled
from .cnn_lstm import CNNLSTM
from .pneumollm import PneumoLLM
from .record_fusion import RecordFusion
from .text_branch import TextBranch

# Begins the names of the frozen layers, which are never stored: they have a file of their own.
LLM_LAYERS = "llm.layers."
SIMPLE_KINDS = {"linear": LinearProbe, "mlp": MeanPooled, "cnn-lstm": CNNLSTM}


def build_classifier(
    config: ClassifierConfig, llm: LlamaWeights | None = None, pretrained: bool = True
) -> Classifier:
    """Put a classifier together, its new parts drawn from torch's global random state.

    llm: the layers that ``config.pneumollm.llm`` names; None to read them here
    (`llm.store.resolve`). pretrained: read the encoder's weights and the text branch's words too;
    False where a bundle has them. The classifier's own `config` has the encoder's `architecture`
    filled in. Raises `UserError` where weights that the configuration names are not on this
    computer.
    """
    config = replace(config, encoder=with_architecture(config.encoder))
    if config.kind == "fusion":
        return RecordFusion(config, _channel_encoders(config, pretrained))
    encoder = build_encoder(config.encoder, pretrained)
    if config.kind in SIMPLE_KINDS:
        return SIMPLE_KINDS[config.kind](config, encoder)
    layers = _frozen_layers(config.llm_part, llm)
    if config.kind == "pneumollm":
        return PneumoLLM(config, encoder, layers)
    return _text_branch(config, encoder, layers, pretrained)


def stored_tensors(network: nn.Module) -> dict[str, Tensor]:
    """The tensors that a bundle stores: all, with the encoder's, but the language model's frozen
    layers.
    """
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith(LLM_LAYERS)
    }


def load_classifier(
    config: ClassifierConfig, tensors: dict[str, Tensor], llm: LlamaWeights | None = None
) -> Classifier:
    """The classifier of `stored_tensors` (of any floating-point type), in evaluation mode.

    Only the language model's layers are read from disk. Raises `UserError` where the tensors are
    not exactly those of the configuration.
    """
    network = build_classifier(config, llm, pretrained=False)
    layers = {
        name: tensor for name, tensor in network.state_dict().items() if name.startswith(LLM_LAYERS)
    }
    try:
        network.load_state_dict({**tensors, **layers}, strict=True)
    except RuntimeError as error:
        raise UserError(
            "The classifier's tensors do not fit its configuration; install the model again."
        ) from error
    return network.eval()


def _channel_encoders(config: ClassifierConfig, pretrained: bool) -> list[Encoder]:
    """One encoder for each channel of the image; where it is frozen, one for all channels."""
    one_channel = replace(config.encoder, channels=1)
    count = config.encoder.channels
    if one_channel.frozen:
        return [build_encoder(one_channel, pretrained)] * count
    return [build_encoder(one_channel, pretrained) for _ in range(count)]


def _frozen_layers(
    config: PneumoLLMConfig, weights: LlamaWeights | None
) -> list[LlamaBlock] | None:
    """The language model's layers, or None for a classifier without one."""
    if config.llm is None:
        return None
    if weights is None:
        weights = resolve(config.llm.source, config.llm.layers)
    layers = [LlamaBlock.from_weights(weights, number) for number in config.llm.layers]
    if config.llm_weights == "random":
        generator = torch.Generator().manual_seed(config.llm_seed)
        for layer in layers:
            replace_tensors(layer, random_of_equal_norm, generator)
    return layers


def _text_branch(
    config: ClassifierConfig,
    encoder: Encoder,
    layers: list[LlamaBlock] | None,
    pretrained: bool,
) -> TextBranch:
    llm = config.llm_part.llm
    if layers is None or llm is None:
        raise ValueError('a classifier of kind "text" needs a language model')
    if pretrained:
        return TextBranch(config, encoder, layers, resolve_text_rows(llm.source))
    return TextBranch(config, encoder, layers, _empty_text(llm, layers[0].config.hidden_size))


def _empty_text(llm: LLMConfig, hidden: int) -> TextRows:
    """Zeros of the right shapes; a bundle's tensors replace them."""
    count = len(PROMPT_IDS[llm.source])
    return TextRows(torch.zeros(count, hidden), torch.zeros(2, hidden), torch.zeros(hidden))
