"""Networks that take one size of image, or multiples of a number, made to take any smaller one."""

from __future__ import annotations

from torch import Tensor, nn

from MedLLMSegLib.core.types import Triple

from .segmenter import pad_to_multiple

_UNETR_PATCH = 16  # voxels along each axis, as published
_SWIN_MULTIPLE = 32  # voxels: five halvings


class Padded(nn.Module):
    """A network that sees its image repeated at the end up to a multiple (k, j, i)."""

    def __init__(self, net: nn.Module, multiple: Triple):
        super().__init__()
        self.net, self.multiple = net, multiple

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, K, J, I) -> logits (B, classes, K, J, I)."""
        k, j, i = image.shape[2:]
        logits: Tensor = self.net(pad_to_multiple(image, self.multiple))
        return logits[:, :, :k, :j, :i]


def unetr(in_channels: int, classes: int, window: Triple) -> Padded:
    """MONAI's UNETR as published (Hatamizadeh et al. 2022), for images up to a window (k, j, i)."""
    from monai.networks.nets import UNETR  # takes seconds to import

    k, j, i = (-(-n // _UNETR_PATCH) * _UNETR_PATCH for n in window)
    return Padded(UNETR(in_channels, classes, img_size=(k, j, i)), (k, j, i))


def swin_unetr(in_channels: int, classes: int, features: int = 24) -> Padded:
    """MONAI's SwinUNETR (Hatamizadeh et al. 2022), half as wide as its usual size of 48."""
    from monai.networks.nets import SwinUNETR

    net = SwinUNETR(in_channels, classes, feature_size=features)
    return Padded(net, (_SWIN_MULTIPLE,) * 3)
