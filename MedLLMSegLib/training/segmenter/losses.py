"""The loss of the segmenter."""

from __future__ import annotations

from monai.losses import DiceCELoss
from torch import Tensor
from torch.nn import functional as F


class SegmentationLoss:
    """Soft Dice plus cross-entropy, summed in float32 whatever the network ran in.

    Both are means over the samples of the batch, so that several processes with a part of the batch
    each, whose gradients are averaged, take the same step as one process with all of it. (Dice over
    the whole batch would not.)
    """

    def __init__(self):
        self.loss = DiceCELoss(
            include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1e-5, smooth_dr=1e-5
        )

    def __call__(self, logits: Tensor | list[Tensor], labels: Tensor) -> Tensor:
        """logits (B, classes, K, J, I), labels (B, 1, K, J, I) whole numbers -> scalar.

        A list of logits (deep supervision, finest first; Lee et al. 2015, weights as in nnU-Net) is
        scored against labels of each size, every coarser one with half the weight of the one
        before.
        """
        if isinstance(logits, Tensor):
            return self.loss(logits.float(), labels)
        weights = [0.5**n for n in range(len(logits))]
        parts = [
            w * self.loss(each.float(), _at_size(labels, each))
            for w, each in zip(weights, logits, strict=True)
        ]
        return sum(parts) / sum(weights)


def _at_size(labels: Tensor, logits: Tensor) -> Tensor:
    if labels.shape[2:] == logits.shape[2:]:
        return labels
    return F.interpolate(labels.float(), size=logits.shape[2:], mode="nearest-exact")
