"""The network that finds the hippocampi in a whole head: a small residual U-Net at 3 mm."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import nn

from MedLLMSegLib.core.types import Json

from .residual_unet import ResidualUNet

# The order is part of the bundle's format. The auxiliary classes teach the network left from right,
# and the localizer checks a hippocampus against them.
CLASSES = (
    "background",
    "left_hippocampus",
    "right_hippocampus",
    "left_cerebrum",
    "right_cerebrum",
    "hindbrain",
)
MIRRORED = (0, 2, 1, 4, 3, 5)  # the class that each class becomes in a mirrored head


@dataclass(frozen=True)
class LocalizerConfig:
    """The configuration of a `LocalizerNet`.

    channels: feature maps at 1/2, 1/4, ... of the input's resolution.
    residual_units: convolutions in each residual block.
    spacing_mm: the isotropic spacing of its input.
    """

    channels: tuple[int, ...] = (16, 24, 48, 80, 96)
    residual_units: int = 2
    spacing_mm: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(int(c) for c in self.channels))
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ValueError(f"channels needs two or more positive numbers, not {self.channels}")
        if self.residual_units < 1:
            raise ValueError(f"residual_units needs to be 1 or more, not {self.residual_units}")
        if not self.spacing_mm > 0:
            raise ValueError(f"spacing_mm needs to be positive, not {self.spacing_mm}")

    @property
    def multiple(self) -> int:
        """Every input axis has to be a multiple of this many voxels."""
        return 2 ** (len(self.channels) - 1)

    def to_dict(self) -> Json:
        """The configuration as JSON; ``LocalizerConfig(**data)`` reads it."""
        return {**asdict(self), "channels": list(self.channels)}


class LocalizerNet(nn.Module):
    """A residual U-Net with instance normalisation, over a single-channel image.

    Its coarsest level has voxels of 48 mm, so that every output sees the whole head; without that
    it could not tell a left hippocampus from a right one in the middle of the brain.
    """

    def __init__(self, config: LocalizerConfig):
        super().__init__()
        self.config = config
        self.unet = ResidualUNet(1, len(CLASSES), config.channels, config.residual_units)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (B, 1, K, J, I) -> logits (B, 6, K, J, I) in the order of `CLASSES`.

        image: values from 0 to 1, axes along RAS, each a multiple of `config.multiple` voxels.
        """
        logits: torch.Tensor = self.unet(image)
        return logits
