"""What every encoder does, and the two small ones that are trained here: an image to source
tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.classifier_config import EncoderConfig

CNN_STAGES = (16, 32, 64, 128)
VIT_PATCH, VIT_DEPTH, VIT_HEAD = 16, 6, 32


class Encoder(nn.Module):
    """An image (B, C, H, W) to source tokens (B, S, widest), one for each of several depths.

    widths: of each source token's features; narrower ones are padded with zeros at their end, so
    that all depths fit one tensor. `cam_layer` is the module whose output (B, C, h, w) Grad-CAM
    looks at. A frozen encoder has no gradients in its weights and stays in evaluation mode.
    """

    def __init__(self, config: EncoderConfig, widths: tuple[int, ...]):
        super().__init__()
        self.config, self.widths = config, widths

    @property
    def cam_layer(self) -> nn.Module:
        raise NotImplementedError

    def train(self, mode: bool = True) -> Encoder:
        return super().train(mode and not self.config.frozen)


def stack_sources(sources: list[Tensor]) -> Tensor:
    """Features of several depths, (B, width) each -> (B, S, widest), padded with zeros at the
    end.
    """
    widest = max(s.shape[1] for s in sources)
    return torch.stack([F.pad(s, (0, widest - s.shape[1])) for s in sources], dim=1)


def checked_depths(
    config: EncoderConfig, count: int, usual: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """The depths that the configuration names, or the usual ones: if none are given, six evenly up
    to the last.

    Raises `UserError` where the encoder has not so many.
    """
    six = sorted(
        {round(count * n / 6) for n in range(1, 7)} - {0}
    )  # 24 layers: 4, 8, ... 24, as in PneumoLLM
    depths = config.depths or usual or tuple(six)
    if depths[-1] > count:
        raise UserError(
            f"The encoder {config.kind!r} has {count} depths and depth {depths[-1]} was asked for; "
            f"choose from 1 to {count}."
        )
    return depths


def check_channels(config: EncoderConfig, needed: int) -> None:
    """Raises `UserError` unless the image has the encoder's channels, or one, which it then gets
    as each of them.
    """
    if config.channels not in (1, needed):
        raise UserError(
            f"EncoderConfig.channels is {config.channels} and the encoder {config.kind!r} takes"
            f" {needed} or, for a grey image, 1; change it."
        )


class SmallCNN(Encoder):
    """Four stages of two 3 x 3 convolutions, the first of each halving the grid; each stage's
    mean is a source token.
    """

    def __init__(self, config: EncoderConfig):
        depths = checked_depths(config, len(CNN_STAGES))
        super().__init__(config, tuple(CNN_STAGES[d - 1] for d in depths))
        self.depths = depths
        self.stages = nn.ModuleList(
            _stage(a, b) for a, b in zip((config.channels, *CNN_STAGES), CNN_STAGES[: depths[-1]])
        )

    @property
    def cam_layer(self) -> nn.Module:
        return self.stages[-1]

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, H, W) -> (B, S, widest)."""
        sources = []
        for number, stage in enumerate(self.stages, start=1):
            image = stage(image)
            if number in self.depths:
                sources.append(image.mean((2, 3)))
        return stack_sources(sources)


def _stage(channels_in: int, channels_out: int) -> nn.Sequential:
    layers = []
    for n, stride in ((channels_in, 2), (channels_out, 1)):
        layers += [
            nn.Conv2d(n, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class PatchMap(nn.Module):
    """Patch tokens as a map, so that Grad-CAM has one to look at. The width is the patches' in
    one row.
    """

    def forward(self, patches: Tensor, columns: int) -> Tensor:
        """patches (B, h * w, D) -> (B, D, h, w)."""
        return patches.transpose(1, 2).unflatten(2, (-1, columns))


class SmallViT(Encoder):
    """Patches of 16 x 16, a class token, six pre-norm layers; the class token after a layer is a
    source token.

    Grad-CAM looks at the patches on their way into the last layer: behind it the class token no
    longer sees them.
    """

    def __init__(self, config: EncoderConfig):
        depths, width = checked_depths(config, VIT_DEPTH), config.width
        if width % VIT_HEAD or config.image_size % VIT_PATCH:
            raise UserError(
                f'The encoder "vit" needs a width that is a multiple of {VIT_HEAD} and an'
                f" image_size that is one of {VIT_PATCH}; {width} and {config.image_size} were"
                " given."
            )
        super().__init__(config, (width,) * len(depths))
        self.depths, self.side = depths, config.image_size // VIT_PATCH
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
        patches = self.embed(image).flatten(2).transpose(1, 2) + self.position  # (B, h * w, D)
        x = torch.cat(
            [self.class_token.expand(len(patches), -1, -1), patches], dim=1
        )  # (B, 1 + h * w, D)
        sources = []
        for number, layer in enumerate(self.layers, start=1):
            if number == len(self.layers):
                seen = (
                    self.patch_map(x[:, 1:], self.side).flatten(2).transpose(1, 2)
                )  # (B, h * w, D) again
                x = torch.cat([x[:, :1], seen], dim=1)
            x = layer(x)
            if number in self.depths:
                sources.append(x[:, 0])
        return stack_sources(sources)
