"""Encoders: an image to source tokens, one for each of several depths, and a map for Grad-CAM."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diagnosis_config import EncoderConfig
from ..errors import UserError

CNN_STAGES = (16, 32, 64, 128)


class Encoder(nn.Module):
    """An image (B, C, H, W) to source tokens (B, S, widest).

    widths: of each source token's features; narrower ones are padded with zeros at their end, so that all depths fit
    one tensor. `cam_layer` is the module whose output (B, C, h, w) Grad-CAM looks at.
    A frozen encoder has no gradients in its weights and stays in evaluation mode.
    """

    def __init__(self, config: EncoderConfig, widths: tuple[int, ...]):
        super().__init__()
        self.config, self.widths = config, widths

    @property
    def cam_layer(self) -> nn.Module:
        raise NotImplementedError

    def train(self, mode: bool = True) -> "Encoder":
        return super().train(mode and not self.config.frozen)


def stack_sources(sources: list[Tensor]) -> Tensor:
    """Features of several depths, (B, width) each -> (B, S, widest), padded with zeros at the end."""
    widest = max(s.shape[1] for s in sources)
    return torch.stack([F.pad(s, (0, widest - s.shape[1])) for s in sources], dim=1)


class SmallCNN(Encoder):
    """Four stages of two 3 x 3 convolutions, the first of each halving the grid; each stage's mean is a source token."""

    def __init__(self, config: EncoderConfig):
        depths = checked_depths(config, len(CNN_STAGES), tuple(range(1, len(CNN_STAGES) + 1)))
        super().__init__(config, tuple(CNN_STAGES[d - 1] for d in depths))
        self.depths = depths
        self.stages = nn.ModuleList(_stage(a, b) for a, b in zip((config.channels, *CNN_STAGES), CNN_STAGES[:depths[-1]]))

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
        layers += [nn.Conv2d(n, channels_out, 3, stride, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()]
    return nn.Sequential(*layers)


def checked_depths(config: EncoderConfig, count: int, usual: tuple[int, ...]) -> tuple[int, ...]:
    """The depths that the configuration names, or the usual ones. Raises `UserError` where there are not so many."""
    depths = config.depths or usual
    if depths[-1] > count:
        raise UserError(f"The encoder {config.kind!r} has {count} depths and depth {depths[-1]} was asked for; "
                        f"choose from 1 to {count}.")
    return depths


def build_encoder(config: EncoderConfig) -> Encoder:
    """The encoder that the configuration names; if it is frozen, without gradients."""
    kinds = {"cnn": SmallCNN}
    if config.kind not in kinds:
        raise UserError(f"The encoder {config.kind!r} is not there yet; use one of {', '.join(kinds)}.")
    encoder = kinds[config.kind](config)
    if config.frozen:
        encoder.requires_grad_(False).eval()
    return encoder
