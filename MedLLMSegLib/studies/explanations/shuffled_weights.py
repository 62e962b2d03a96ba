"""Does a map depend on what was learnt? Maps of networks whose weights are shuffled.

Source: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018: a map that stays the same
when the weights are made random shows edges of the image, and not what the network does.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from MedLLMSegLib.core.types import Array

# From the logits down, each with all before it: the beginnings of the parts' names
STAGES = {
    "logits": ("decoder.head",),
    "decoder": ("decoder",),
    "all": ("",),
}


def shuffled(network: nn.Module, stage: str, seed: int = 0) -> nn.Module:
    """A copy of a network; in each tensor of a stage the numbers have changed places, so that their
    sizes are as they were.
    """
    changed = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in changed.named_parameters():
            if name.startswith(STAGES[stage]):
                flat = weight.detach().cpu().reshape(-1)
                order = torch.randperm(flat.numel(), generator=generator)
                weight.copy_(flat[order].view(weight.shape))
    return changed


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's, over all voxels; 0 where a map is the same everywhere."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one.ravel(), other.ravel()).statistic)
