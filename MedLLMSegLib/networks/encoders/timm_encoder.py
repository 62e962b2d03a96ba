"""An encoder from a timm folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
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

# Arguments with which a config.json could make timm download or unpickle something.
FORBIDDEN_ARGUMENTS = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
}


class TimmEncoder(Encoder):
    """Source tokens are the class token (or else the mean) of several depths, as timm counts them.

    Grad-CAM uses the last map; where there is a class token, the patches before the last block.
    """

    def __init__(self, config: EncoderConfig, description: Json, weights: Path | None):
        """description: the content of config.json. weights: the file, or None for random ones."""
        model: Any = _timm_model(description, weights)
        depths = checked_depths(config, len(model.feature_info))
        first_layer = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        channels = first_layer.in_channels
        check_channels(config, channels)
        super().__init__(config, _widths(model, depths, channels, config.image_size))
        self.model = model
        self.depths = depths
        self.channels = channels
        self.patch_map = PatchMap()
        self.prefix: int = getattr(model, "num_prefix_tokens", 0)
        if self.prefix:
            self.columns: int = model.patch_embed.grid_size[1]
            model.blocks[depths[-1] - 1].register_forward_pre_hook(self._show_patches)

    @property
    def cam_layer(self) -> nn.Module:
        return self.patch_map

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, H, W) -> (B, S, widest)."""
        features = _features(self.model, self.depths, image.expand(-1, self.channels, -1, -1))
        if self.prefix:
            return stack_sources([prefix[:, 0] for _, prefix in features])
        *maps, last = features  # (B, D, h, w) each
        patches = last.flatten(2).transpose(1, 2)  # (B, h * w, D)
        last = self.patch_map(patches, last.shape[3])  # (B, D, h, w)
        return stack_sources([x.mean((2, 3)) for x in (*maps, last)])

    def _show_patches(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """A forward pre-hook: the block's input, with its patches led through `patch_map`."""
        x = args[0]  # (B, prefix + h * w, D)
        return (pass_through_map(self.patch_map, x, self.prefix, self.columns), *args[1:])


def _timm_model(description: Json, weights: Path | None) -> nn.Module:
    name = description["architecture"]
    args = dict(description.get("model_args") or {})
    if ":" in name or "/" in name or set(args) & FORBIDDEN_ARGUMENTS:
        raise UserError(
            f"The config.json of the encoder {name!r} asks for weights from elsewhere; choose the"
            " folder that holds the model itself."
        )
    try:
        model = optional_package("timm").create_model(
            name, pretrained=False, num_classes=description.get("num_classes", 1000), **args
        )
        if weights is not None:
            model.load_state_dict(load_file(weights), strict=True)
    except (RuntimeError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise UserError(
            f"The weights and config.json of the encoder {name!r} do not fit this version of timm,"
            " or are damaged; update timm, or download the model again, whole."
        ) from error
    model.reset_classifier(0)
    if not hasattr(model, "forward_intermediates"):
        raise UserError(
            f"timm gives no features of several depths for {name!r}; choose a ViT, ResNet, ConvNeXt"
            " or EfficientNet."
        )
    return model


def _features(model: nn.Module, depths: tuple[int, ...], image: Tensor) -> list[Any]:
    """image (B, C, H, W) -> the map (B, D, h, w) of each depth; of a model with prefix tokens (B,
    P, D), pairs of map and prefix tokens.
    """
    options = {"return_prefix_tokens": True} if getattr(model, "num_prefix_tokens", 0) else {}
    features = cast("Any", model).forward_intermediates(
        image, indices=[depth - 1 for depth in depths], intermediates_only=True, **options
    )
    return cast("list[Any]", features)


def _widths(
    model: nn.Module, depths: tuple[int, ...], channels: int, image_size: int
) -> tuple[int, ...]:
    """The number of features of each depth, found by running an empty image through the model."""
    was_training = model.training
    image = torch.zeros(1, channels, image_size, image_size)
    try:
        with torch.no_grad():
            features = _features(model.eval(), depths, image)
    except (AssertionError, RuntimeError) as error:
        raise UserError(
            f"This encoder does not take images of {image_size} pixels; give"
            " EncoderConfig.image_size the size that its config.json names."
        ) from error
    finally:
        model.train(was_training)
    maps = (entry[0] if isinstance(entry, (tuple, list)) else entry for entry in features)
    return tuple(x.shape[1] for x in maps)
