"""`build_encoder`, which alone knows the kinds of encoders."""

from __future__ import annotations

from collections.abc import Callable

from MedLLMSegLib.llm.encoder_store import read_encoder
from MedLLMSegLib.registry.classifier_config import EncoderConfig

from .efficientnet import EfficientNetLite0
from .encoder import Encoder, SmallCNN, SmallViT
from .folder_encoder import folder_encoder, with_architecture

__all__ = ["Encoder", "build_encoder", "with_architecture"]


KINDS: dict[str, Callable[[EncoderConfig], Encoder]] = {
    "cnn": SmallCNN,
    "vit": SmallViT,
    "efficientnet-lite0": EfficientNetLite0,
}


def build_encoder(config: EncoderConfig, pretrained: bool = True) -> Encoder:
    """The encoder that the configuration names; if it is frozen, without gradients.

    pretrained: read the weights of "efficientnet-lite0" from the cache, and those of a "folder"
    from there; False where a bundle has them, or for random ones. Raises `UserError` where they are
    not on this computer.
    """
    if config.kind == "folder":
        encoder = folder_encoder(with_architecture(config), pretrained)
    else:
        encoder = KINDS[config.kind](config)
    if config.kind == "efficientnet-lite0" and pretrained:
        encoder.load_state_dict(read_encoder(config.kind), strict=True)
    if config.frozen:
        encoder.requires_grad_(False).eval()
    return encoder
