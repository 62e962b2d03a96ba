"""How sure a network is: calibrated probabilities, averaged over several views if requested, and
their entropy.

Temperature: one number a model by which its logits are divided (`training.segmenter.bundle.
temperature_fit`). Views: the same scan shifted, with another contrast or mirrored. Where the
network's answers differ between views, their mean is unsure (test-time augmentation, Wang et al.
2019, arXiv 1807.07356).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.engines.graph import FP32
from MedLLMSegLib.registry.segmenter_settings import WINDOW

from .inference import predict
from .scores import Reading

MAX_SHIFT_VOX = 3  # enough to change how voxels fall into patches
SHIFTED_AXIS_VOX = 16  # shorter axes (thick slices) are not shifted
GAMMA = (0.8, 1.25)  # within what training sees (0.7 to 1.4)


@dataclass(frozen=True)
class View:
    """One way to look at a prepared array [k, j, i], or at all channels of one [c, k, j, i].

    flips: axes that are mirrored. shift_vox: voxels (k, j, i) by which the content moves towards
    higher indices. gamma: exponent on the grey values, scaled to 0..1 for it.
    """

    flips: tuple[int, ...] = ()
    shift_vox: Triple = (0, 0, 0)
    gamma: float = 1.0

    def apply(self, array: Array) -> NDArray[np.float32]:
        """The array as this view shows it: longer by the shift, so that nothing is lost."""
        if array.ndim == 4:
            return np.stack([self.apply(channel) for channel in array])
        seen = np.flip(array, self.flips)
        if self.gamma != 1.0:
            seen = _with_gamma(seen, self.gamma)
        padding = [(shift, 0) for shift in self.shift_vox]
        return np.pad(seen, padding, mode="edge").astype(np.float32, copy=False)

    def undo(self, values: Array) -> Array:
        """Values [c, k, j, i] of what `apply` gave -> [c, k, j, i] of the original array."""
        k, j, i = self.shift_vox
        return np.flip(values[:, k:, j:, i:], tuple(axis + 1 for axis in self.flips))


def _with_gamma(array: Array, gamma: float) -> Array:
    """Another contrast with the same mean and standard deviation."""
    low, span = array.min(), max(float(array.max() - array.min()), 1e-6)
    curved = ((array - low) / span) ** np.float32(gamma)
    standardised = (curved - curved.mean()) / max(float(curved.std()), 1e-6)
    rescaled: Array = standardised * array.std() + array.mean()
    return rescaled


PLAIN = (View(),)


def make_views(
    augment: int, shape: tuple[int, ...], flips: Iterable[int] = (), seed: int = 0
) -> tuple[View, ...]:
    """The plain view and ``augment`` others, the same ones each time.

    shape: (k, j, i) of the array; an axis of few voxels (thick slices) is not shifted. flips: axes
    that the model's training mirrored. Other models must not see mirrored scans.
    """
    rng = np.random.default_rng(seed)
    axes = tuple(flips)
    mirrorings = [chosen for n in range(len(axes) + 1) for chosen in combinations(axes, n)]

    def random_shift(length: int) -> int:
        return int(rng.integers(0, MAX_SHIFT_VOX + 1)) if length >= SHIFTED_AXIS_VOX else 0

    views = list(PLAIN)
    for n in range(1, augment + 1):
        k, j, i = (random_shift(length) for length in shape)
        gamma = float(np.exp(rng.uniform(*np.log(GAMMA))))
        views.append(View(mirrorings[n % len(mirrorings)], (k, j, i), gamma))
    return tuple(views)


def mean_probabilities(
    network: nn.Module,
    array: Array,
    device: torch.device,
    window: Triple = WINDOW,
    *,
    reading: Reading | None = None,
    views: tuple[View, ...] = PLAIN,
    precision: str = FP32,
    progress: Report | None = None,
) -> NDArray[np.float32]:
    """Class probabilities of a prepared array [k, j, i] or [c, k, j, i]: float32 [outputs, k, j,
    i].

    They are the mean over the views. reading: of the network's outputs (`Reading.values`); None
    where they are the classes' logits. precision: "fp32" or "bf16", of the network.
    """
    first_view, *other_views = views
    first_step, *other_steps = Progress.of(progress).parts(len(views))

    def probabilities_in(view: View, step: Progress) -> Array:
        logits = predict(
            network, view.apply(array), device, window, progress=step, precision=precision
        )
        own_reading = reading or Reading(len(logits))
        return view.undo(own_reading.values_in_place(logits))

    total = probabilities_in(first_view, first_step)
    if other_views:
        total = np.ascontiguousarray(total) / len(views)
    for view, step in zip(other_views, other_steps, strict=True):
        total += probabilities_in(view, step) / len(views)
    return total


def entropy(probabilities: Array, possible: int | None = None) -> NDArray[np.float32]:
    """Entropy over the first axis of [c, k, j, i], float32.

    0: one class is certain. 1: all classes are equally likely. possible: how many of the classes
    may occur; None for all.
    """
    total = np.zeros(probabilities.shape[1:], np.float32)
    for p in probabilities:
        total -= p * np.log(np.maximum(p, 1e-12))
    largest = np.float32(np.log(max(2, possible or len(probabilities))))
    scaled: NDArray[np.float32] = np.clip(total / largest, 0, 1)
    return scaled
