"""A vision encoder from a folder on the user's disk: Hugging Face's CLIP, ViT or DINOv2, or timm's.

Both have config.json and model.safetensors. The optional packages `transformers` and `timm` build
the network from these two files and nothing else. No pickle is opened, and no code in a folder is
run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.classifier_config import EncoderConfig

from .encoder import Encoder
from .huggingface_encoder import HF_MODELS, HuggingFaceEncoder
from .timm_encoder import TimmEncoder


def with_architecture(config: EncoderConfig) -> EncoderConfig:
    """The configuration with the text of the folder's config.json as its `architecture`.

    Other kinds, and a configuration that has it already, are returned as they are. Raises
    `UserError` where config.json cannot be read.
    """
    if config.kind != "folder" or config.architecture:
        return config
    path = Path(config.path).expanduser() / "config.json"
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path.parent} has no readable config.json; choose the folder that a timm or Hugging"
            " Face model was downloaded to."
        ) from error
    return replace(config, architecture=text)


def folder_encoder(config: EncoderConfig, pretrained: bool) -> Encoder:
    """The encoder of a folder. config: with its `architecture`. pretrained: read the weights."""
    about = json.loads(config.architecture)
    weights = Path(config.path).expanduser() / "model.safetensors" if pretrained else None
    if weights is not None and not weights.is_file():
        raise UserError(
            f"{weights.parent} holds no model.safetensors; pickled .bin and .pt files are not"
            " opened, so download or convert the model as safetensors."
        )
    if about.get("model_type") in HF_MODELS:
        return HuggingFaceEncoder(config, about, weights)
    if isinstance(about.get("architecture"), str):
        return TimmEncoder(config, about, weights)
    raise UserError(
        f"The encoder in {config.path or 'this bundle'} is of type {about.get('model_type')!r}; a"
        f" timm folder or a Hugging Face one of type {', '.join(HF_MODELS)} is needed."
    )
