"""The control that sees no image: the mean of the training labels, laid over each crop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from MedLLMSegLib.core.types import Array, Json

GRID = (32, 48, 32)  # on which labels are averaged: about the crops' own voxels

# a prepared image (K, J, I) -> probabilities of the classes (C, K, J, I)
Answer: TypeAlias = Callable[[Array], Array]


def label_prior(cases: Sequence[Json], classes: int) -> Tensor:
    """How likely each class is at a place of the crop: (C, *GRID). cases: `prepare_case`."""
    total = torch.zeros(classes, *GRID)
    for case in cases:
        label = torch.from_numpy(np.asarray(case["label"][0])).long()  # (K, J, I)
        total += _resized(F.one_hot(label, classes).movedim(-1, 0).float(), GRID)
    return total / len(cases)


def blind_answer(prior: Tensor) -> Answer:
    """The same for every image of a shape. prior: of `label_prior`."""
    return lambda image: _resized(prior, image.shape).numpy()


def _resized(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """(C, K, J, I) -> (C, *shape)."""
    return F.interpolate(maps[None], size=tuple(shape), mode="trilinear", align_corners=False)[0]
