"""An encoder from a Hugging Face folder of type CLIP, ViT or DINOv2."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.registry.classifier_config import EncoderConfig

from .encoder import (
    Encoder,
    PatchMap,
    check_channels,
    checked_depths,
    pass_through_map,
    stack_sources,
)
from .optional_package import optional_package

# model_type in config.json -> the classes of its configuration and model in `transformers`.
HF_MODELS = {
    "clip": ("CLIPVisionConfig", "CLIPVisionModel"),
    "clip_vision_model": ("CLIPVisionConfig", "CLIPVisionModel"),
    "vit": ("ViTConfig", "ViTModel"),
    "dinov2": ("Dinov2Config", "Dinov2Model"),
}


class HuggingFaceEncoder(Encoder):
    """Source tokens are the class token after several layers (CLIP ViT-L/14: after 4, 8, ... 24, as
    in PneumoLLM).

    Grad-CAM uses the patches before the last of these layers.
    """

    def __init__(self, config: EncoderConfig, description: Json, weights: Path | None):
        """description: the content of config.json. weights: the file, or None for random ones."""
        model_type = description["model_type"]
        config_class, model_class = (
            getattr(optional_package("transformers"), name) for name in HF_MODELS[model_type]
        )
        if model_type == "clip":  # only its vision half
            description = description.get("vision_config", description)
        vision = config_class.from_dict(description)
        depths = checked_depths(config, vision.num_hidden_layers)
        super().__init__(config, (vision.hidden_size,) * len(depths))
        check_channels(config, vision.num_channels)
        _check_image_size(config, vision)
        self.depths = depths
        self.channels = vision.num_channels
        self.side = config.image_size // vision.patch_size
        # DINOv2 always interpolates its positions, and does not know the option.
        other_size = config.image_size != vision.image_size and model_type != "dinov2"
        self.options = {"interpolate_pos_encoding": True} if other_size else {}
        if weights is None:
            self.model = model_class(vision)
        else:
            self.model = _from_folder(model_class, vision, weights.parent)
        self.patch_map = PatchMap()
        last_layer = _layers_of(self.model, vision.num_hidden_layers)[depths[-1] - 1]
        last_layer.register_forward_pre_hook(self._show_patches, with_kwargs=True)

    @property
    def cam_layer(self) -> nn.Module:
        return self.patch_map

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, H, W) -> (B, S, width)."""
        output = self.model(
            pixel_values=image.expand(-1, self.channels, -1, -1),
            output_hidden_states=True,
            **self.options,
        )
        states = output.hidden_states  # of each layer (B, 1 + h * w, D)
        return stack_sources([states[depth][:, 0] for depth in self.depths])

    def _show_patches(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A forward pre-hook: the layer's input, with its patches led through `patch_map`."""
        x = args[0] if args else kwargs["hidden_states"]  # (B, 1 + h * w, D)
        x = pass_through_map(self.patch_map, x, prefix=1, columns=self.side)
        return ((x, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": x})


def _check_image_size(config: EncoderConfig, vision: Any) -> None:
    if config.image_size % vision.patch_size:
        raise UserError(
            f"This encoder's patches are {vision.patch_size} pixels wide and"
            f" EncoderConfig.image_size is {config.image_size}; choose a multiple, as the"
            f" {vision.image_size} it was trained on."
        )


def _layers_of(model: nn.Module, count: int) -> nn.ModuleList:
    """The model's list of transformer layers."""
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    return next(layers for layers in lists if len(layers) == count)


def _from_folder(model_class: Any, vision: Any, folder: Path) -> nn.Module:
    """The model with the folder's weights, in float32. Raises `UserError` where a tensor is
    missing.
    """
    logging = import_module("transformers.utils.logging")
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would report the text half of a CLIP as an error
    try:
        model, loading = model_class.from_pretrained(
            folder,
            config=vision,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(
            f"The weights in {folder} do not fit its config.json or are damaged; download the model"
            " again, whole."
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(name for name in loading["missing_keys"] if "pooler" not in name)
    if missing:
        raise UserError(
            f"The weights in {folder} lack {missing[0]} and {len(missing) - 1} more; download the"
            " model again, whole."
        )
    return model
