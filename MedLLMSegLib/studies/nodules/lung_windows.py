"""A network's probability in the windows that touch the lungs; what is known is not made again."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from scipy import ndimage
from torch import nn

from MedLLMSegLib.core.types import Array, Triple

from .samples import WINDOW, channels
from .scans import WORKING_MM, to_working

NEAR_MM = 4.0  # of the lungs, for a candidate
STEP = WINDOW // 2  # voxels between windows; with less overlap their edges show in outlines


def lung_region(lungs: Array, spacing_k_mm: float) -> Array:
    """Lungs and what lies within `NEAR_MM` of them, bool [k', j, i] at 2 mm."""
    inside = to_working(lungs, spacing_k_mm) >= 0.5
    near: Array = ndimage.distance_transform_edt(~inside, WORKING_MM) <= NEAR_MM
    return near


class LungWindows:
    """A network in one scan. region: see `lung_region`, of a grid at least a window wide.

    A window that holds the same voxels as that of the first image asked for is not run again: of
    an inserted nodule's scan, only the windows around it are.
    """

    def __init__(self, network: nn.Module, region: Array):
        self.network, self.region = network, region
        self.weight = compute_importance_map((WINDOW,) * 3, "gaussian").numpy()
        self.known: dict[Triple, tuple[Array, Array]] = {}

    def probability(self, working: Array) -> Array:
        """HU at 2 mm [k', j, i] -> float32 of being nodule; 0 where no window touches a lung."""
        padded = np.pad(
            working, [(0, max(0, WINDOW - n)) for n in working.shape], constant_values=-1000.0
        )
        sums = np.zeros(padded.shape, np.float32)
        weights = np.zeros(padded.shape, np.float32)
        for start in self._starts(padded.shape):
            k, j, i = box = tuple(slice(a, a + WINDOW) for a in start)
            if not self.region[k, j, i].any():
                continue
            sums[box] += self.weight * self._window(start, padded[box])
            weights[box] += self.weight
        whole = sums / np.maximum(weights, 1e-6)
        return whole[tuple(slice(0, n) for n in working.shape)]

    def _starts(self, shape: tuple[int, ...]):
        axes = [sorted({*range(0, n - WINDOW, STEP), n - WINDOW}) for n in shape]
        return product(*axes)

    def _window(self, start: Triple, window: Array) -> Array:
        known = self.known.get(start)
        if known is not None and np.array_equal(known[0], window):
            return known[1]
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(channels(window))[None])  # (1, 2, K, J, I)
            found: Array = logits.softmax(dim=1)[0, 1].numpy()
        if known is None:
            self.known[start] = (window.copy(), found)
        return found
