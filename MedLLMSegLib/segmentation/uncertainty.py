"""How sure a network is: calibrated probabilities, averaged over several views if asked for, and
their entropy.

Temperature: one number a model by which its logits are divided, fitted on labelled cases that it
was not trained on, so that its probabilities say how often it is right (Guo et al. 2017, arXiv
1706.04599). Views: the same scan shifted, with another contrast or mirrored; where the network's
answers differ, their mean is unsure (test-time augmentation, Wang et al. 2019, arXiv 1807.07356).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import minimize_scalar
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.registry.segmenter_settings import WINDOW, Triple

from .inference import predict
from .restore import softmax

MAX_SHIFT_VOX = 3  # enough to change how voxels fall into patches
GAMMA = (0.8, 1.25)  # within what training sees (0.7 to 1.4)
NEAR_VOX = 4  # voxels around the foreground on which a temperature is fitted
TEMPERATURES = (0.05, 20.0)
FIT_VOX = 200_000  # voxels of a case that are enough for one number


@dataclass(frozen=True)
class View:
    """One way to look at a prepared array [k, j, i].

    flips: axes that are mirrored. shift_vox: voxels (k, j, i) by which the content moves towards
    higher indices. gamma: exponent on the grey values, scaled to 0..1 for it.
    """

    flips: tuple[int, ...] = ()
    shift_vox: Triple = (0, 0, 0)
    gamma: float = 1.0

    def apply(self, array: np.ndarray) -> np.ndarray:
        """The array as this view shows it: longer by the shift, so that nothing is lost."""
        seen = np.flip(array, self.flips)
        if self.gamma != 1.0:
            low, span = seen.min(), max(float(seen.max() - seen.min()), 1e-6)
            bent = ((seen - low) / span) ** np.float32(self.gamma)
            seen = (bent - bent.mean()) / max(float(bent.std()), 1e-6) * seen.std() + seen.mean()
        return np.pad(seen, [(s, 0) for s in self.shift_vox], mode="edge").astype(
            np.float32, copy=False
        )

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Values [c, k, j, i] of what `apply` gave -> [c, k, j, i] of the array as it was."""
        return np.flip(
            values[(slice(None), *(slice(s, None) for s in self.shift_vox))],
            [a + 1 for a in self.flips],
        )


PLAIN = (View(),)


def make_views(
    augment: int, shape: Triple, flips: Iterable[int] = (), seed: int = 0
) -> tuple[View, ...]:
    """The plain view and ``augment`` others, the same ones each time.

    shape: of the array; an axis of few voxels (thick slices) is not shifted. flips: axes that the
    model's training mirrored, which no other model may be asked to see.
    """
    if augment < 0:
        raise UserError(f"{augment} more views were asked for; give 0 or more.")
    rng, axes = np.random.default_rng(seed), tuple(flips)
    mirrorings = [c for n in range(len(axes) + 1) for c in combinations(axes, n)]
    more = []
    for n in range(1, augment + 1):
        shift = tuple(
            int(rng.integers(0, MAX_SHIFT_VOX + 1)) if size >= 16 else 0 for size in shape
        )
        more.append(
            View(mirrorings[n % len(mirrorings)], shift, float(np.exp(rng.uniform(*np.log(GAMMA)))))
        )
    return (*PLAIN, *more)


def mean_probabilities(
    network: nn.Module,
    array: np.ndarray,
    device: torch.device,
    window: Triple = WINDOW,
    *,
    temperature: float = 1.0,
    views: tuple[View, ...] = PLAIN,
    progress: Report | None = None,
) -> np.ndarray:
    """Class probabilities of a prepared array [k, j, i]: the mean over the views, float32
    [classes, k, j, i].
    """
    total = None
    for n, view in enumerate(views):
        step = (lambda stage, f, n=n: progress(stage, (n + f) / len(views))) if progress else None
        logits = predict(network, view.apply(array), device, window, progress=step)
        each = view.undo(softmax(logits, temperature, out=logits))
        if total is None:
            total = each if len(views) == 1 else np.ascontiguousarray(each) / len(views)
        else:
            total += each / len(views)
    return total


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy over the first axis of [c, k, j, i], from 0 (one class is certain) to 1 (all are
    as likely), float32.
    """
    total = np.zeros(probabilities.shape[1:], np.float32)
    for p in probabilities:
        total -= p * np.log(np.maximum(p, 1e-12))
    return np.clip(total / np.float32(np.log(max(2, len(probabilities)))), 0, 1)


def fit_temperature(cases: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """The temperature under which logits say best how likely each class is: the one of least
    negative log-likelihood.

    cases: (logits [c, k, j, i], labels [k, j, i]) of cases that the network was not trained on.
    Voxels count that lie within a few voxels of the foreground, drawn or found: far from it
    everything is easy, and would decide alone. Raises `UserError` if there are none, or a label
    that the logits have no class for.
    """
    logits, labels = [], []
    for values, truth in cases:
        if int(truth.max(initial=0)) >= len(values):
            raise UserError(
                f"A label map holds the value {int(truth.max())}, and the model has classes up to "
                f"{len(values) - 1}; check the labels."
            )
        near = ndimage.binary_dilation(
            (truth > 0) | (values.argmax(axis=0) > 0), iterations=NEAR_VOX
        )
        places = np.flatnonzero(near)
        places = places[:: -(-len(places) // FIT_VOX)] if len(places) else places
        logits.append(values.reshape(len(values), -1)[:, places].astype(np.float64))  # (c, n)
        labels.append(truth.reshape(-1)[places].astype(int))
    if not sum(len(each) for each in labels):
        raise UserError(
            "No structure is labelled or found in the cases for the calibration; give cases with"
            " labels."
        )
    z, y = np.concatenate(logits, axis=1), np.concatenate(labels)
    z -= z.max(axis=0)
    own = z[y, np.arange(len(y))]

    def loss(log_t: float) -> float:
        scaled = z / np.exp(log_t)
        return float((np.log(np.exp(scaled).sum(axis=0)) - own / np.exp(log_t)).mean())

    best = minimize_scalar(
        loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(best.x))
