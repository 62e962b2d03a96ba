"""A 3D U-Net with residual units and attention gates in one network; MONAI has one or the other.

Sources: residual units as in Kerfoot et al. 2019 (MONAI's `ResidualUnit`); gates as in Oktay et al.
2018, Attention U-Net (MONAI's `AttentionBlock`); depth, kernels and filters as nnU-Net plans them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.types import Triple

from .dynunet import plan_filters, plan_kernels, plan_strides
from .segmenter import pad_to_multiple


class GatedResidualUNet(nn.Module):
    """The network for a window of voxels (k, j, i) and a spacing in mm.

    gated: whether what crosses from encoder to decoder passes a gate; False is the control.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        window: Triple,
        spacing_mm: tuple[float, float, float],
        gated: bool = True,
    ):
        super().__init__()
        strides = plan_strides(window, spacing_mm)
        kernels, filters = plan_kernels(strides, spacing_mm), plan_filters(len(strides))
        self.multiple = tuple(math.prod(axis) for axis in zip(*strides, strict=True))  # (k, j, i)
        self.encoder = nn.ModuleList(
            _residual_unit(before, after, kernel, stride)
            for before, after, kernel, stride in zip(
                [in_channels, *filters], filters, kernels, strides, strict=False
            )
        )
        self.decoder = nn.ModuleList(
            _Up(filters[n], filters[n - 1], kernels[n - 1], strides[n], gated)
            for n in range(len(strides) - 1, 0, -1)
        )
        self.head = nn.Conv3d(filters[0], classes, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, K, J, I) of any size -> logits (B, classes, K, J, I)."""
        k, j, i = image.shape[2:]
        features = pad_to_multiple(image, self.multiple)
        skips = []
        for stage in self.encoder:
            features = stage(features)  # (B, filters, K / strides, ...)
            skips.append(features)
        for up, skip in zip(self.decoder, skips[-2::-1], strict=True):
            features = up(features, skip)
        logits: Tensor = self.head(features)
        return logits[:, :, :k, :j, :i]

    @torch.no_grad()
    def gate_maps(self, image: Tensor) -> list[Tensor]:
        """What each gate lets through, 0 to 1, finest first: (B, 1, K / stride, J / stride, ...) of
        the padded image. [] without gates.
        """
        maps: list[Tensor] = []
        opened = [each for name, each in self.named_modules() if name.endswith(".gate.psi")]
        hooks = [
            each.register_forward_hook(lambda _gate, _given, passed: maps.append(passed))
            for each in opened
        ]
        try:
            self(image)
        finally:
            for hook in hooks:
                hook.remove()
        return maps[::-1]


class _Up(nn.Module):
    """One stage of the decoder: up, past the gate, joined, convolved."""

    def __init__(self, before: int, after: int, kernel: Triple, stride: Triple, gated: bool):
        from monai.networks.nets.attentionunet import AttentionBlock  # takes seconds to import

        super().__init__()
        self.up = nn.ConvTranspose3d(before, after, kernel_size=stride, stride=stride)
        self.gate = AttentionBlock(3, f_int=after // 2, f_g=after, f_l=after) if gated else None
        self.join = _residual_unit(2 * after, after, kernel, (1, 1, 1))

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """coarse (B, before, K / stride, ...), skip (B, after, K, J, I) -> (B, after, K, J, I)."""
        up = self.up(coarse)
        passed = skip if self.gate is None else self.gate(g=up, x=skip)
        joined: Tensor = self.join(torch.cat([passed, up], dim=1))
        return joined


def _residual_unit(before: int, after: int, kernel: Triple, stride: Triple) -> nn.Module:
    from monai.networks.blocks.convolutions import ResidualUnit

    return ResidualUnit(
        3, before, after, strides=stride, kernel_size=kernel, subunits=2, act="LEAKYRELU"
    )
