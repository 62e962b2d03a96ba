"""The one function that knows the names of classifiers: a configuration -> a network; and what
of a network is stored.
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
from MedLLMSegLib.registry.classifier_config import ClassifierConfig

from .classifier import Classifier, LinearProbe, MeanPooled
from .cnn_lstm import CNNLSTM
from .pneumollm import PneumoLLM
from .record_fusion import RecordFusion
from .text_branch import TextBranch

# the frozen layers, which are never stored: they come from the language model's own file
LLM_LAYERS = "llm.layers."


def build_classifier(
    config: ClassifierConfig, llm: LlamaWeights | None = None, pretrained: bool = True
) -> Classifier:
    """Put a classifier together, its new parts drawn from torch's global random state.

    llm: the layers that ``config.pneumollm.llm`` names; None to read them here
    (`llm.store.resolve`). pretrained: read the encoder's weights and the text branch's words too;
    False where they come out of a bundle. The classifier's own `config` has the encoder's
    `architecture` filled in. Raises `UserError` where weights that the configuration names are not
    on this computer.
    """
    config = replace(config, encoder=with_architecture(config.encoder))
    if config.kind == "fusion":
        return RecordFusion(config, _channel_encoders(config, pretrained))
    encoder = build_encoder(config.encoder, pretrained)
    if config.kind == "pneumollm":
        return PneumoLLM(config, encoder, _frozen_layers(config, llm))
    if config.kind == "text":
        layers = _frozen_layers(config, llm)
        return TextBranch(
            config,
            encoder,
            layers,
            (
                resolve_text_rows(config.pneumollm.llm.source)
                if pretrained
                else _empty_text(config, layers[0].config.hidden_size)
            ),
        )
    return {"linear": LinearProbe, "mlp": MeanPooled, "cnn-lstm": CNNLSTM}[config.kind](
        config, encoder
    )


def stored_tensors(network: nn.Module) -> dict[str, Tensor]:
    """What a bundle stores: everything, the encoder's own copy included, but the language
    model's frozen layers.
    """
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith(LLM_LAYERS)
    }


def load_classifier(
    config: ClassifierConfig, tensors: dict[str, Tensor], llm: LlamaWeights | None = None
) -> Classifier:
    """The classifier of `stored_tensors` (whatever their floating-point type), strictly, in
    evaluation mode.

    Nothing but the language model's layers is read from disk. Raises `UserError` where the tensors
    are not exactly its.
    """
    network = build_classifier(config, llm, pretrained=False)
    layers = {name: t for name, t in network.state_dict().items() if name.startswith(LLM_LAYERS)}
    try:
        network.load_state_dict({**tensors, **layers}, strict=True)
    except RuntimeError as error:
        raise UserError(
            "The classifier's tensors do not fit its configuration; install the model again."
        ) from error
    return network.eval()


def _channel_encoders(config: ClassifierConfig, pretrained: bool) -> nn.ModuleList:
    """One encoder for each channel of the image; where nothing trains them, one for all."""
    one = replace(config.encoder, channels=1)
    count = config.encoder.channels
    if one.frozen:
        return nn.ModuleList([build_encoder(one, pretrained)] * count)
    return nn.ModuleList(build_encoder(one, pretrained) for _ in range(count))


def _frozen_layers(config: ClassifierConfig, weights: LlamaWeights | None) -> nn.ModuleList | None:
    part = config.pneumollm
    if part.llm is None:
        return None
    if weights is None:
        weights = resolve(part.llm.source, part.llm.layers)
    layers = nn.ModuleList(LlamaBlock.from_weights(weights, n) for n in part.llm.layers)
    if part.llm_weights == "random":
        generator = torch.Generator().manual_seed(part.llm_seed)
        for layer in layers:
            replace_tensors(layer, random_of_equal_norm, generator)
    return layers


def _empty_text(config: ClassifierConfig, hidden: int) -> TextRows:
    """Zeros of the right shapes, until a bundle's tensors take their place."""
    count = len(PROMPT_IDS[config.pneumollm.llm.source])
    return TextRows(torch.zeros(count, hidden), torch.zeros(2, hidden), torch.zeros(hidden))
