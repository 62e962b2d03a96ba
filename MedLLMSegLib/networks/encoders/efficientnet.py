"""EfficientNet-lite0: EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excitation, with ReLU6
in place of swish.

Built for the weights that TensorFlow trained on ImageNet, so convolutions are padded TensorFlow's
way: "same". Dropped paths in training are left out.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.registry.classifier_config import EncoderConfig

from .encoder import Encoder, check_channels, checked_depths, stack_sources

# Of each stage: kernel, stride of its first block, expansion, channels, blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
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
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if kernel > 1:
            height, width = (
                max((-(n // -stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]
            )
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.act else x


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
    """Depths 1 to 7 are the stages, 8 is the head; the mean of each map is a source token. One
    channel is taken as grey.
    """

    def __init__(self, config: EncoderConfig):
        check_channels(config, 3)
        depths = checked_depths(config, len(STAGES) + 1, USUAL_DEPTHS)
        widths = (*(stage[3] for stage in STAGES), HEAD)
        super().__init__(config, tuple(widths[d - 1] for d in depths))
        self.depths = depths
        self.stem = ConvNorm(3, STEM, 3, 2)
        self.stages, channels = nn.ModuleList(), STEM
        for kernel, stride, expansion, width, blocks in STAGES:
            self.stages.append(
                nn.Sequential(
                    *(
                        InvertedResidual(
                            channels if n == 0 else width,
                            width,
                            kernel,
                            stride if n == 0 else 1,
                            expansion,
                        )
                        for n in range(blocks)
                    )
                )
            )
            channels = width
        self.head = ConvNorm(channels, HEAD, 1)

    @property
    def cam_layer(self) -> nn.Module:
        return (*self.stages, self.head)[self.depths[-1] - 1]

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1 or 3, H, W) -> (B, S, widest)."""
        x, sources = self.stem(image.expand(-1, 3, -1, -1)), []
        for number, stage in enumerate((*self.stages, self.head)[: self.depths[-1]], start=1):
            x = stage(x)
            if number in self.depths:
                sources.append(x.mean((2, 3)))
        return stack_sources(sources)
