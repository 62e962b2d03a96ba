"""The convolutional peer: MONAI's DynUNet with the kernels, strides and filters that nnU-Net
would plan.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

_SMALLEST = 4  # voxels: nnU-Net halves an axis while it keeps at least this many
_BASE_FILTERS, _MOST_FILTERS = 32, 320


def plan_strides(
    window: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> list[tuple[int, int, int]]:
    """How each stage shrinks the grid (k, j, i), the first stage not at all.

    An axis is halved while it keeps four voxels or more and is not more than twice as coarse as the
    finest axis by then (Isensee et al. 2021, nnU-Net, supplementary note 2, simplified: no limit on
    the number of stages).
    """
    size, spacing, strides = list(window), list(spacing_mm), [(1, 1, 1)]
    while True:
        long_enough = [n % 2 == 0 and n // 2 >= _SMALLEST for n in size]
        finest = min((s for s, ok in zip(spacing, long_enough) if ok), default=0.0)
        step = tuple(2 if ok and s < 2 * finest else 1 for s, ok in zip(spacing, long_enough))
        if step == (1, 1, 1):
            return strides
        size = [n // s for n, s in zip(size, step)]
        spacing = [mm * s for mm, s in zip(spacing, step)]
        strides.append(step)


class PlannedDynUNet(nn.Module):
    """DynUNet for a window and a spacing: 3 x 3 x 3 kernels (1 x 3 x 3 before the first halving
    along k where slices are thick), instance norm, leaky ReLU, 32 filters doubled at each stage up
    to 320.

    With deep supervision, training mode gives a list of logits, finest first: of all the decoder's
    scales but the coarsest, as in nnU-Net.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        window: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        deep_supervision: bool = True,
    ):
        super().__init__()
        from monai.networks.nets import DynUNet  # takes seconds to import

        strides = plan_strides(window, spacing_mm)
        thick = spacing_mm[0] >= 2 * min(spacing_mm[1:])
        first_k = next((n for n, s in enumerate(strides) if s[0] == 2), len(strides))
        kernels = [(1, 3, 3) if thick and n < first_k else (3, 3, 3) for n in range(len(strides))]
        filters = [min(_BASE_FILTERS * 2**n, _MOST_FILTERS) for n in range(len(strides))]
        heads = len(strides) - 3
        self.supervised = deep_supervision and heads > 0
        self.multiple = tuple(math.prod(axis) for axis in zip(*strides))  # (k, j, i)
        self.net = DynUNet(
            3,
            in_channels,
            classes,
            kernels,
            strides,
            strides[1:],
            filters=filters,
            deep_supervision=self.supervised,
            deep_supr_num=max(1, heads),
        )

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """image (B, C, K, J, I) -> logits (B, classes, K, J, I); in training with deep supervision
        a list, finest first.

        The coarser entries have the window's size divided by the strides of their stage.
        """
        size = image.shape[2:]
        # MONAI's own forward would blow all scales up to the full size, and deep supervision wants
        # each at its own.
        missing = [-n % m for n, m in zip(size, self.multiple)]
        padded = F.pad(image, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        logits = self.net.output_block(self.net.skip_layers(padded))
        logits = logits[:, :, : size[0], : size[1], : size[2]]
        if not (self.training and self.supervised):
            return logits
        coarser = list(self.net.heads)
        self.net.heads[:] = [image.new_zeros(1)] * len(
            coarser
        )  # holds no graph from one step to the next
        return [logits, *coarser]
