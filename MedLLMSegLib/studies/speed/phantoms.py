"""Inputs of a known shape, made in place of scans: what is compared does not look at content."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.core.volume import Volume

RIPPLES = 3.0  # waves along an axis of the phantom, so that surfaces are curved both ways
RIPPLE_HEIGHT = 0.12  # of the radius
SHARPNESS = 4.0  # of the free network: its logits differ by this in the middle of a class
GREY_STEP, GREY_AIR = 400.0, -100.0  # grey values of a phantom scan, a class and of air


@lru_cache(maxsize=2)
def body(shape: Triple, top: float) -> NDArray[np.float32]:
    """A smooth rippled body [k, j, i]: 0 around it, rising to ``top`` in its middle.

    With classes at whole numbers up to ``top`` a few percent of the voxels lie at a boundary.
    """
    values = np.empty(shape, np.float32)
    for plane, made in zip(values, _planes(shape, top), strict=True):
        plane[...] = made
    return values


def _planes(shape: Triple, top: float) -> Iterator[NDArray[np.float32]]:
    """The body's planes one by one, so that making it needs no memory beside it."""
    k, j, i = (np.linspace(-1.3, 1.3, n, dtype=np.float32) for n in shape)
    ripple_j, ripple_i = np.cos(RIPPLES * np.pi * j)[:, None], np.cos(RIPPLES * np.pi * i)[None]
    plane_radius = j[:, None] ** 2 + i[None] ** 2
    for along_k in k:
        ripple = RIPPLE_HEIGHT * np.cos(RIPPLES * np.pi * along_k) * ripple_j * ripple_i
        radius = np.sqrt(along_k**2 + plane_radius) + ripple
        yield top * np.clip(1.25 * (1 - radius), 0, 1)


def scan(shape: Triple, extent_mm: tuple[float, float, float], top: float = 2.0) -> Volume:
    """The body as a scan of int16, along right, anterior and superior.

    extent_mm: along (k, j, i), faces included.
    """
    grey = np.empty(shape, np.int16)
    for plane, values in zip(grey, _planes(shape, top), strict=True):
        plane[...] = values * GREY_STEP + GREY_AIR
    return Volume(grey, straight_grid(shape, extent_mm).ijk_to_ras, f"{shape[0]} slices")


def straight_grid(shape: Triple, extent_mm: tuple[float, float, float]) -> Grid:
    """A grid along RAS whose outer faces are at 0 and at the extent (k, j, i)."""
    k, j, i = (mm / n for mm, n in zip(extent_mm, shape, strict=True))
    matrix = np.diag([i, j, k, 1.0])
    matrix[:3, 3] = (i / 2, j / 2, k / 2)
    return Grid(shape, matrix)


class FreeNetwork(nn.Module):
    """A nearly free network with smooth logits: the class whose number is nearest to a voxel's
    mean over 3 x 3 x 3, or to the voxel itself. It costs far less than any network that segments.
    """

    def __init__(self, classes: int, smooth: bool = True) -> None:
        super().__init__()
        self.mean: nn.Module = nn.Identity()
        if smooth:
            self.mean = nn.Conv3d(1, 1, 3, padding=1, bias=False)
            nn.init.constant_(self.mean.weight, 1 / 27)
        self.head = nn.Conv3d(1, classes, 1)
        numbers = torch.arange(classes, dtype=torch.float32)
        # -(x - c)^2 without x^2, which all classes have in common
        self.head.weight = nn.Parameter(2 * SHARPNESS * numbers.reshape(classes, 1, 1, 1, 1))
        self.head.bias = nn.Parameter(-SHARPNESS * numbers**2)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:  # (B, 1, K, J, I) -> (B, classes, K, J, I)
        logits: Tensor = self.head(self.mean(image))
        return logits
