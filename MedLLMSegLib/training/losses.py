"""The loss of the segmenter."""
from __future__ import annotations

from monai.losses import DiceCELoss
from torch import Tensor


class SegmentationLoss:
    """Soft Dice over the batch plus cross-entropy, summed in float32 whatever the network ran in."""

    def __init__(self):
        self.loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-5,
                               smooth_dr=1e-5)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits (B, classes, K, J, I), labels (B, 1, K, J, I) whole numbers -> scalar."""
        return self.loss(logits.float(), labels)
