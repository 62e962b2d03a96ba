"""A vision encoder that the user has on disk: a Hugging Face CLIP, ViT or DINOv2 folder, or a timm
folder.

Both are config.json and model.safetensors. `transformers` and `timm` are optional packages: what
they read they build themselves, from these two files and nothing else. No pickle is opened, no code
out of a folder is run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.classifier_config import EncoderConfig

from .encoder import Encoder, PatchMap, check_channels, checked_depths, stack_sources

HF_MODELS = {
    "clip": ("CLIPVisionConfig", "CLIPVisionModel"),
    "clip_vision_model": ("CLIPVisionConfig", "CLIPVisionModel"),
    "vit": ("ViTConfig", "ViTModel"),
    "dinov2": ("Dinov2Config", "Dinov2Model"),
}
# What could make timm fetch or unpickle something.
TIMM_FORBIDDEN = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
}


def with_architecture(config: EncoderConfig) -> EncoderConfig:
    """The configuration with the folder's config.json as its `architecture`; as it is where there
    is nothing to fill in.

    Raises `UserError` where the folder has none that can be read.
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
    """config: with its `architecture`. pretrained: read the folder's weights."""
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


class HuggingFaceEncoder(Encoder):
    """Source tokens are the class token after several layers (CLIP ViT-L/14: after 4, 8, ... 24, as
    in PneumoLLM).

    Grad-CAM looks at the patches on their way into the last of these layers.
    """

    def __init__(self, config: EncoderConfig, about: dict, weights: Path | None):
        config_class, model_class = (
            getattr(_package("transformers"), name) for name in HF_MODELS[about["model_type"]]
        )
        own = config_class.from_dict(
            about.get("vision_config", about) if about["model_type"] == "clip" else about
        )
        depths = checked_depths(config, own.num_hidden_layers)
        super().__init__(config, (own.hidden_size,) * len(depths))
        check_channels(config, own.num_channels)
        if config.image_size % own.patch_size:
            raise UserError(
                f"This encoder's patches are {own.patch_size} pixels wide and"
                f" EncoderConfig.image_size is {config.image_size}; choose a multiple, as the"
                f" {own.image_size} it was trained on."
            )
        self.depths, self.channels, self.side = (
            depths,
            own.num_channels,
            config.image_size // own.patch_size,
        )
        other_size = (
            config.image_size != own.image_size and about["model_type"] != "dinov2"
        )  # that one always interpolates
        self.options = {"interpolate_pos_encoding": True} if other_size else {}
        self.model = (
            model_class(own) if weights is None else _from_folder(model_class, own, weights.parent)
        )
        self.patch_map = PatchMap()
        layers = next(
            m
            for m in self.model.modules()
            if isinstance(m, nn.ModuleList) and len(m) == own.num_hidden_layers
        )
        layers[depths[-1] - 1].register_forward_pre_hook(self._pass_map, with_kwargs=True)

    @property
    def cam_layer(self) -> nn.Module:
        return self.patch_map

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, H, W) -> (B, S, width)."""
        seen = self.model(
            pixel_values=image.expand(-1, self.channels, -1, -1),
            output_hidden_states=True,
            **self.options,
        )
        return stack_sources([seen.hidden_states[d][:, 0] for d in self.depths])

    def _pass_map(self, layer, args, kwargs):
        """What goes into a layer, its patches led through `patch_map`."""
        x = args[0] if args else kwargs["hidden_states"]  # (B, 1 + h * w, D)
        x = torch.cat(
            [x[:, :1], self.patch_map(x[:, 1:], self.side).flatten(2).transpose(1, 2)], dim=1
        )
        return ((x, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": x})


def _from_folder(model_class, own, folder: Path) -> nn.Module:
    """The model with the folder's weights, in float32. Raises `UserError` unless each of its
    tensors is there.
    """
    logging = import_module("transformers.utils.logging")
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would list the text half of a CLIP as if that were a fault
    try:
        model, found = model_class.from_pretrained(
            folder,
            config=own,
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
    if missing := sorted(name for name in found["missing_keys"] if "pooler" not in name):
        raise UserError(
            f"The weights in {folder} lack {missing[0]} and {len(missing) - 1} more; download the"
            " model again, whole."
        )
    return model


class TimmEncoder(Encoder):
    """Source tokens are the class token (or else the mean) of several depths, as timm counts them.

    Grad-CAM looks at the last map; where there is a class token, at the patches on their way into
    the last block.
    """

    def __init__(self, config: EncoderConfig, about: dict, weights: Path | None):
        model = _timm_model(about, weights)
        depths = checked_depths(config, len(model.feature_info))
        channels = next(m for m in model.modules() if isinstance(m, nn.Conv2d)).in_channels
        check_channels(config, channels)
        super().__init__(config, _timm_widths(model, depths, channels, config.image_size))
        self.model, self.depths, self.channels = model, depths, channels
        self.patch_map = PatchMap()
        self.prefix = getattr(model, "num_prefix_tokens", 0)
        if self.prefix:
            model.blocks[depths[-1] - 1].register_forward_pre_hook(self._pass_map)

    @property
    def cam_layer(self) -> nn.Module:
        return self.patch_map

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, H, W) -> (B, S, widest)."""
        seen = _timm_depths(self.model, self.depths, image.expand(-1, self.channels, -1, -1))
        if self.prefix:
            return stack_sources([prefix[:, 0] for _, prefix in seen])
        last = self.patch_map(
            seen[-1].flatten(2).transpose(1, 2), seen[-1].shape[3]
        )  # (B, D, h, w)
        return stack_sources([x.mean((2, 3)) for x in (*seen[:-1], last)])

    def _pass_map(self, block, args):
        """What goes into a block, its patches led through `patch_map`."""
        x, patches = args[0][:, : self.prefix], args[0][:, self.prefix :]
        columns = self.model.patch_embed.grid_size[1]
        return (
            torch.cat([x, self.patch_map(patches, columns).flatten(2).transpose(1, 2)], dim=1),
            *args[1:],
        )


def _timm_model(about: dict, weights: Path | None) -> nn.Module:
    name, args = about["architecture"], dict(about.get("model_args") or {})
    if ":" in name or "/" in name or set(args) & TIMM_FORBIDDEN:
        raise UserError(
            f"The config.json of the encoder {name!r} asks for weights from elsewhere; choose the"
            " folder that holds the model itself."
        )
    try:
        model = _package("timm").create_model(
            name, pretrained=False, num_classes=about.get("num_classes", 1000), **args
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


def _timm_depths(model: nn.Module, depths: tuple[int, ...], image: Tensor) -> list:
    """The maps (B, D, h, w) of several depths, each with its prefix tokens (B, P, D) where there
    are some.
    """
    more = {"return_prefix_tokens": True} if getattr(model, "num_prefix_tokens", 0) else {}
    return model.forward_intermediates(
        image, indices=[d - 1 for d in depths], intermediates_only=True, **more
    )


def _timm_widths(
    model: nn.Module, depths: tuple[int, ...], channels: int, size: int
) -> tuple[int, ...]:
    training = model.training
    try:
        with torch.no_grad():
            seen = _timm_depths(model.eval(), depths, torch.zeros(1, channels, size, size))
    except (AssertionError, RuntimeError) as error:
        raise UserError(
            f"This encoder does not take images of {size} pixels; give EncoderConfig.image_size the"
            " size that its config.json names."
        ) from error
    finally:
        model.train(training)
    return tuple((one[0] if isinstance(one, (tuple, list)) else one).shape[1] for one in seen)


def _package(name: str):
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"Reading this encoder needs the package {name}; install it with 'pip install {name}'."
        ) from error
    except (
        RuntimeError
    ) as error:  # torchvision, which timm imports, when it was built for another torch
        raise UserError(
            f"The package {name} is installed and cannot be loaded ({str(error).splitlines()[0]});"
            " install torch and torchvision anew, together and for the same kind of computer."
        ) from error
