"""The layers of a segmentation network whose features can be looked at, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.networks.parts.decoder import ConvDecoder
from MedLLMSegLib.networks.parts.queries import FoldedStem
from MedLLMSegLib.networks.parts.vit import ConvStem

from .segmenter import MedVisionLlama

TOKENS = "tokens"  # the deepest features, as the decoder gets them


@dataclass(frozen=True, eq=False)
class FeatureLayer:
    """Features (B, C, k, j, i) that cover the whole padded image.

    They are what `module` gives, or with `before` what it gets.
    """

    name: str
    module: nn.Module
    before: bool = False


def feature_layers(network: nn.Module) -> dict[str, FeatureLayer]:
    """The layers of a `MedVisionLlama`, from the image to the logits.

    "stem1" is the finest stage of the stem; "embedding" are the tokens before the transformer, and
    `TOKENS` those behind it, as the decoder gets them; "decoder1" is the coarsest stage of the
    decoder. Raises `UserError` for any other network.
    """
    if not isinstance(network, MedVisionLlama):
        raise UserError(
            f"The layers of a {type(network).__name__} are not known, so its answer cannot be"
            " explained; use one of the models that ship, or one made by `medllmseg train`."
        )
    embedding, decoder = network.embedding, network.decoder
    stem = embedding.stem if isinstance(embedding, FoldedStem) else embedding
    stages = list(stem.stages) if isinstance(stem, ConvStem) else []
    layers = [FeatureLayer(f"stem{n}", stage) for n, stage in enumerate(stages, 1)]
    layers.append(FeatureLayer("embedding", _module(stem, "project")))
    if isinstance(decoder, ConvDecoder):
        layers.append(FeatureLayer(TOKENS, decoder.up[0], before=True))
        layers += [FeatureLayer(f"decoder{n}", join) for n, join in enumerate(decoder.join, 1)]
    else:
        layers.append(FeatureLayer(TOKENS, _module(decoder, "project"), before=True))
    return {layer.name: layer for layer in layers}


def _module(parent: nn.Module, name: str) -> nn.Module:
    return parent.get_submodule(name)


@contextmanager
def features_seen(layer: FeatureLayer, see: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Within the block, call with the layer's features each time they are made.

    What the call returns takes their place; None leaves them.
    """
    if layer.before:
        handle = layer.module.register_forward_pre_hook(lambda _module, given: see(given[0]))
    else:
        handle = layer.module.register_forward_hook(lambda _module, _given, made: see(made))
    try:
        yield
    finally:
        handle.remove()
