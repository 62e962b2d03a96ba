"""Evidence over an image of any size: in the windows that hold some of the region."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from MedLLMSegLib.core.geometry import Box
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.segmentation.window_plan import WindowPlan
from MedLLMSegLib.segmentation.windows import gaussian_weights

from .grad_cam import CamSettings, Question, window_evidence

OVERLAP = 0.5  # of the windows, as in `inference.predict`


@dataclass(frozen=True, eq=False)
class Evidence:
    """values: float32 [k, j, i], above 0 for and below 0 against. windows: that were looked at."""

    values: NDArray[np.float32]
    windows: int


def whole_evidence(
    network: nn.Module,
    array: Array,
    question: Question,
    tile: Triple,
    settings: CamSettings,
    device: torch.device,
    progress: Progress,
) -> Evidence:
    """The evidence for a region, on the voxels of a prepared array.

    array: float32 [k, j, i]. question: on its voxels. tile: the voxels of a window. The logit of a
    voxel is the Gaussian mean over the windows that hold it, and so is its evidence.
    """
    network = network.to(device)
    windows = list(_windows(array, question, tile))
    values = np.zeros(array.shape, np.float32)
    for (box, own), part in zip(windows, progress.parts(len(windows)), strict=True):
        image = torch.from_numpy(np.ascontiguousarray(array[box], np.float32))[None, None]
        found = window_evidence(network, image.to(device), own.to(device), settings, part)
        values[box] += found.cpu().numpy()
    return Evidence(values, len(windows))


def _windows(array: Array, question: Question, tile: Triple) -> Iterator[tuple[Box, Question]]:
    """(box, what is asked of it) of each window in which any logit counts."""
    k, j, i = array.shape
    sizes = tuple(min(size, length) for size, length in zip(tile, (k, j, i), strict=True))
    plan = WindowPlan.of((k, j, i), (sizes[0], sizes[1], sizes[2]), OVERLAP)
    weights = gaussian_weights(plan.tile)
    boxes = [_box(corner, plan.tile) for _first, corners in plan.rows() for corner in corners]
    total = torch.zeros(plan.shape)
    for box in boxes:
        total[box] += weights
    for box in boxes:
        own = question.part(box, weights / total[box])
        if own.asks_something:
            yield box, own


def _box(corner: Triple, tile: Triple) -> Box:
    k, j, i = (slice(low, low + size) for low, size in zip(corner, tile, strict=True))
    return k, j, i
