"""The one function that knows the names of classifiers: a configuration -> a network."""
from __future__ import annotations

import torch
from torch import nn

from ..diagnosis_config import ClassifierConfig
from ..errors import UserError
from ..llm.block import LlamaBlock
from ..llm.llama import LlamaWeights
from ..llm.store import resolve
from .classifier import Classifier, LinearProbe, MeanPooled
from .controls import random_of_equal_norm, replace_tensors
from .encoders import build_encoder
from .pneumollm import PneumoLLM


def build_classifier(config: ClassifierConfig, llm: LlamaWeights | None = None) -> Classifier:
    """Put a classifier together, its new parts drawn from torch's global random state.

    llm: the layers that ``config.pneumollm.llm`` names; None to read them here (`llm.store.resolve`).
    Raises `UserError` where weights that the configuration names are not on this computer.
    """
    encoder = build_encoder(config.encoder)
    if config.kind == "linear":
        return LinearProbe(config, encoder)
    if config.kind == "mlp":
        return MeanPooled(config, encoder)
    if config.kind == "pneumollm":
        return PneumoLLM(config, encoder, _frozen_layers(config, llm))
    raise UserError(f"The classifier {config.kind!r} is not there yet.")


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
