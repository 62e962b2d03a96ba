"""The convolutional peer: MONAI's DynUNet with nnU-Net's kernels, strides and filters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from MedLLMSegLib.core.types import Triple

from .segmenter import pad_to_multiple

_SMALLEST = 4  # voxels that an axis keeps at least when nnU-Net halves it
_BASE_FILTERS, _MOST_FILTERS = 32, 320


def plan_strides(window: Triple, spacing_mm: tuple[float, float, float]) -> list[Triple]:
    """Strides (k, j, i) of each stage; the first stage keeps the grid.

    An axis is halved while it keeps four voxels or more and is not more than twice as coarse as the
    finest axis by then (Isensee et al. 2021, nnU-Net, supplementary note 2, simplified: no limit on
    the number of stages).
    """
    size = np.array(window)
    spacing = np.array(spacing_mm, dtype=float)
    strides: list[Triple] = [(1, 1, 1)]
    while True:
        can_halve = (size % 2 == 0) & (size // 2 >= _SMALLEST)
        finest = spacing[can_halve].min(initial=np.inf)
        halves = can_halve & (spacing < 2 * finest)
        if not halves.any():
            return strides
        k, j, i = (2 if axis_halves else 1 for axis_halves in halves)
        strides.append((k, j, i))
        size, spacing = size // strides[-1], spacing * strides[-1]


def plan_kernels(strides: Sequence[Triple], spacing_mm: tuple[float, float, float]) -> list[Triple]:
    """Kernels of each stage: 3 x 3 x 3, and 1 x 3 x 3 before the first halving along k where slices
    are thick.
    """
    stages = range(len(strides))
    thick_slices = spacing_mm[0] >= 2 * min(spacing_mm[1:])
    first_halving_of_k = next((n for n in stages if strides[n][0] == 2), len(strides))
    return [(1, 3, 3) if thick_slices and n < first_halving_of_k else (3, 3, 3) for n in stages]


def plan_filters(stages: int) -> list[int]:
    """Filters of each stage: 32, doubled at each stage up to 320."""
    return [min(_BASE_FILTERS * 2**n, _MOST_FILTERS) for n in range(stages)]


class PlannedDynUNet(nn.Module):
    """DynUNet for a window of voxels (k, j, i) and a spacing.

    See `plan_strides`, `plan_kernels` and `plan_filters`; instance norm, leaky ReLU. Deep
    supervision takes all the decoder's scales but the coarsest, as nnU-Net does.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        window: Triple,
        spacing_mm: tuple[float, float, float],
        deep_supervision: bool = True,
    ):
        super().__init__()
        from monai.networks.nets import DynUNet  # takes seconds to import

        strides = plan_strides(window, spacing_mm)
        heads = len(strides) - 3
        self.supervised = deep_supervision and heads > 0
        self.multiple = tuple(math.prod(axis) for axis in zip(*strides, strict=True))  # (k, j, i)
        self.net = DynUNet(
            3,
            in_channels,
            classes,
            plan_kernels(strides, spacing_mm),
            strides,
            strides[1:],
            filters=plan_filters(len(strides)),
            deep_supervision=self.supervised,
            deep_supr_num=max(1, heads),
        )

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """image (B, C, K, J, I) of any size -> logits (B, classes, K, J, I).

        While training with deep supervision: a list, finest first. The coarser ones have the size
        of the padded image, divided by the strides of their stage.
        """
        k, j, i = image.shape[2:]
        padded = pad_to_multiple(image, self.multiple)  # (B, C, K', J', I')
        # MONAI's own forward would resize the logits of all scales to the image's size, and deep
        # supervision needs each at its own.
        logits = self.net.output_block(self.net.skip_layers(padded))  # (B, classes, K', J', I')
        logits = logits[:, :, :k, :j, :i]
        if not (self.training and self.supervised):
            return logits
        coarser = list(self.net.heads)
        # The network must not hold this step's graph until the next step.
        self.net.heads[:] = [image.new_zeros(1)] * len(coarser)
        return [logits, *coarser]
