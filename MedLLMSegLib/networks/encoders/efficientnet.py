"""EfficientNet-lite0: EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excitation, with ReLU6
instead of swish.

Its ImageNet weights were trained with TensorFlow, so convolutions have TensorFlow's "same" padding.
Stochastic depth in training is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.registry.classifier_config import EncoderConfig

from .encoder import Encoder, check_channels, checked_depths, stack_sources


@dataclass(frozen=True)
class Stage:
    """A stage of inverted residuals. stride: of its first block; expansion: of the channels inside
    a block.
    """

    kernel: int
    stride: int
    expansion: int
    channels: int
    blocks: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
STEM, HEAD, IMAGENET_CLASSES = 32, 1280, 1000
USUAL_DEPTHS = (3, 4, 5, 6, 7, 8)  # the stages from the third on, and the head


class ConvNorm(nn.Module):
    """Convolution, batch norm and, where wanted, ReLU6."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C_in, H, W) -> (B, C_out, H / stride, W / stride), rounded up."""
        x = self.norm(self.conv(self._pad(x)))
        return F.relu6(x) if self.act else x

    def _pad(self, x: Tensor) -> Tensor:
        """Pad (B, C_in, H, W) as TensorFlow's "same" does: the odd row and column at the end."""
        kernel = self.conv.kernel_size[0]
        stride = self.conv.stride[0]
        if kernel == 1:
            return x
        height, width = (
            max((math.ceil(size / stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:]
        )
        return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, project (MobileNetV2, Sandler et al. 2018)."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int
    ):
        super().__init__()
        inner = channels_in * expansion
        self.expand = ConvNorm(channels_in, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, channels_out, 1, act=False)
        self.same = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C_in, H, W) -> (B, C_out, H / stride, W / stride), rounded up."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.same else y


class EfficientNetLite0(Encoder):
    """Depths 1 to 7 are the stages, 8 is the head; the mean of each map is a source token. A grey
    image is taken as all three colours.
    """

    def __init__(self, config: EncoderConfig):
        check_channels(config, 3)
        depths = checked_depths(config, len(STAGES) + 1, USUAL_DEPTHS)
        widths = (*(stage.channels for stage in STAGES), HEAD)
        super().__init__(config, tuple(widths[depth - 1] for depth in depths))
        self.depths = depths
        self.stem = ConvNorm(3, STEM, 3, 2)
        inputs = (STEM, *(stage.channels for stage in STAGES[:-1]))
        self.stages = nn.ModuleList(map(_blocks, inputs, STAGES))
        self.head = ConvNorm(STAGES[-1].channels, HEAD, 1)

    @property
    def cam_layer(self) -> nn.Module:
        return (*self.stages, self.head)[self.depths[-1] - 1]

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1 or 3, H, W) -> (B, S, widest)."""
        colour = image.expand(-1, 3, -1, -1)  # (B, 3, H, W)
        x = self.stem(colour)
        sources = []
        used = (*self.stages, self.head)[: self.depths[-1]]
        for depth, stage in enumerate(used, start=1):
            x = stage(x)  # (B, C_n, H_n, W_n)
            if depth in self.depths:
                sources.append(x.mean((2, 3)))  # (B, C_n)
        return stack_sources(sources)


def _blocks(channels_in: int, stage: Stage) -> nn.Sequential:
    first = InvertedResidual(
        channels_in, stage.channels, stage.kernel, stage.stride, stage.expansion
    )
    further = (
        InvertedResidual(stage.channels, stage.channels, stage.kernel, 1, stage.expansion)
        for _ in range(stage.blocks - 1)
    )
    return nn.Sequential(first, *further)
