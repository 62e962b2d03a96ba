"""The base of all encoders, from an image to source tokens, and the two small ones that are trained
here.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.classifier_config import EncoderConfig

CNN_STAGES = (16, 32, 64, 128)
VIT_PATCH, VIT_DEPTH, VIT_HEAD = 16, 6, 32


class Encoder(nn.Module):
    """From an image (B, C, H, W) to source tokens (B, S, widest), one for each of several depths.

    widths: the number of features of each source token; narrower ones are padded with zeros at the
    end, so that all depths fit one tensor. The weights of a frozen encoder have no gradients, and
    it stays in evaluation mode.
    """

    def __init__(self, config: EncoderConfig, widths: tuple[int, ...]):
        super().__init__()
        self.config = config
        self.widths = widths

    @property
    def cam_layer(self) -> nn.Module:
        """The module whose output (B, C, h, w) Grad-CAM uses."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Encoder:
        """Set the mode of all modules; a frozen encoder stays in evaluation mode."""
        super().train(mode and not self.config.frozen)
        return self


def stack_sources(sources: list[Tensor]) -> Tensor:
    """Features of several depths, (B, width) each -> (B, S, widest), padded with zeros at the
    end.
    """
    widest = max(source.shape[1] for source in sources)
    padded = [F.pad(source, (0, widest - source.shape[1])) for source in sources]  # (B, widest)
    return torch.stack(padded, dim=1)


def checked_depths(
    config: EncoderConfig, count: int, usual: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """The depths that the configuration names, or else the usual ones: six, evenly up to the last,
    if none are given.

    count: depths that the encoder has. Raises `UserError` where it lacks one.
    """
    # Of 24 layers: 4, 8, ... 24, as in PneumoLLM.
    six = sorted({round(count * n / 6) for n in range(1, 7)} - {0})
    depths = config.depths or usual or tuple(six)
    if depths[-1] > count:
        raise UserError(
            f"The encoder {config.kind!r} has {count} depths and depth {depths[-1]} was asked for; "
            f"choose from 1 to {count}."
        )
    return depths


def check_channels(config: EncoderConfig, needed: int) -> None:
    """Raise `UserError` unless the image has the channels that the encoder needs, or one channel,
    which is then repeated.
    """
    if config.channels not in (1, needed):
        raise UserError(
            f"EncoderConfig.channels is {config.channels} and the encoder {config.kind!r} takes"
            f" {needed} or, for a grey image, 1; change it."
        )


class SmallCNN(Encoder):
    """Four stages of two 3 x 3 convolutions, of which the first halves the grid; the mean of each
    stage's output is a source token.
    """

    def __init__(self, config: EncoderConfig):
        depths = checked_depths(config, len(CNN_STAGES))
        super().__init__(config, tuple(CNN_STAGES[d - 1] for d in depths))
        self.depths = depths
        channels = (config.channels, *CNN_STAGES[: depths[-1]])
        self.stages = nn.ModuleList(_stage(*in_and_out) for in_and_out in pairwise(channels))

    @property
    def cam_layer(self) -> nn.Module:
        return self.stages[-1]

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, H, W) -> (B, S, widest)."""
        x = image
        sources = []
        for depth, stage in enumerate(self.stages, start=1):
            x = stage(x)  # (B, C_n, H / 2^depth, W / 2^depth)
            if depth in self.depths:
                sources.append(x.mean((2, 3)))  # (B, C_n)
        return stack_sources(sources)


def _stage(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class PatchMap(nn.Module):
    """Shows patch tokens as a map, for Grad-CAM. columns: patches in a row of the image."""

    def forward(self, patches: Tensor, columns: int) -> Tensor:
        """patches (B, h * w, D) -> (B, D, h, w)."""
        return patches.transpose(1, 2).unflatten(2, (-1, columns))


def pass_through_map(patch_map: PatchMap, x: Tensor, prefix: int, columns: int) -> Tensor:
    """Lead the patches among the tokens x (B, prefix + h * w, D) through the map; the values stay.

    prefix: tokens before the patches, such as a class token.
    """
    patches = patch_map(x[:, prefix:], columns)  # (B, D, h, w)
    return torch.cat([x[:, :prefix], patches.flatten(2).transpose(1, 2)], dim=1)


class SmallViT(Encoder):
    """Patches of 16 x 16, a class token, six pre-norm layers; the class token after a layer is a
    source token.

    Grad-CAM uses the patches before the last layer, as the class token sees them no more after it.
    """

    def __init__(self, config: EncoderConfig):
        depths = checked_depths(config, VIT_DEPTH)
        width = config.width
        if width % VIT_HEAD or config.image_size % VIT_PATCH:
            raise UserError(
                f'The encoder "vit" needs a width that is a multiple of {VIT_HEAD} and an'
                f" image_size that is one of {VIT_PATCH}; {width} and {config.image_size} were"
                " given."
            )
        super().__init__(config, (width,) * len(depths))
        self.depths = depths
        self.side = config.image_size // VIT_PATCH
        self.embed = nn.Conv2d(config.channels, width, VIT_PATCH, VIT_PATCH)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, self.side**2, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                width // VIT_HEAD,
                4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depths[-1])
        )
        self.patch_map = PatchMap()

    @property
    def cam_layer(self) -> nn.Module:
        return self.patch_map

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, H, W), H and W as configured -> (B, S, width)."""
        patches = self.embed(image).flatten(2).transpose(1, 2)  # (B, h * w, D)
        patches = patches + self.position
        class_token = self.class_token.expand(len(patches), -1, -1)  # (B, 1, D)
        x = torch.cat([class_token, patches], dim=1)  # (B, 1 + h * w, D)
        sources = []
        for depth, layer in enumerate(self.layers, start=1):
            if depth == len(self.layers):
                x = pass_through_map(self.patch_map, x, prefix=1, columns=self.side)
            x = layer(x)  # (B, 1 + h * w, D)
            if depth in self.depths:
                sources.append(x[:, 0])  # (B, D)
        return stack_sources(sources)
