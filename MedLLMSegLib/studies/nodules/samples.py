"""What a training sees: windows of lungs, most of them with one inserted nodule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from MedLLMSegLib.core.types import Array

from .density import Density
from .insertion import find_place, insert
from .scans import WORKING_MM, Scan, working_slices
from .shapes import NoduleShape

WINDOW = 32  # voxels of 2 mm along each axis
WITH_NODULE = 0.8  # of the samples
OFF_CENTRE = 10  # voxels at most, of a nodule in its window
# Lungs and their vessels; soft tissue. Not chosen on any scan.
HU_WINDOWS = ((-1000.0, 200.0), (-160.0, 240.0))
SHIFT_HU, NOISE_HU = 15.0, 25.0  # SD of a sample's shift; most noise that is added to it
TRIES = 100


@dataclass(frozen=True)
class Backgrounds:
    """Scans to insert into, and the densities measured in those of them that have a nodule."""

    scans: Sequence[Scan]

    @cached_property
    def densities(self) -> list[Density]:
        return [scan.density for scan in self.scans if scan.density]

    @cached_property
    def places(self) -> list[Array]:
        """Scan -> (n, 3) voxels of its lungs."""
        return [np.argwhere(scan.lungs & ~scan.left_out) for scan in self.scans]


def channels(hu: Array) -> Array:
    """[k, j, i] in HU -> float32 [window, k, j, i], each window from -1 to 1."""
    seen = [np.clip((hu - low) / (high - low), 0, 1) * 2 - 1 for low, high in HU_WINDOWS]
    return np.stack(seen).astype(np.float32)


class NoduleWindows(Dataset[dict[str, Any]]):
    """Sample number -> {"image": float32 (2, K, J, I), "label": uint8 (1, K, J, I), "case"}, a
    function of the seed and the number alone.
    """

    def __init__(self, backgrounds: Backgrounds, shapes: Sequence[NoduleShape], seed: int):
        self.backgrounds, self.seed = backgrounds, seed
        self.by_size = [[s for s in shapes if s.size == size] for size in range(4)]
        self.by_size = [shapes for shapes in self.by_size if shapes]

    def __len__(self) -> int:
        return 2**31  # as many as the training asks for

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, number))
        which = int(rng.integers(len(self.backgrounds.scans)))
        scan = self.backgrounds.scans[which]
        hu, label = self._window(scan, self.backgrounds.places[which], rng)
        hu = hu + rng.normal(0, SHIFT_HU) + rng.normal(0, rng.uniform(0, NOISE_HU), hu.shape)
        flipped = tuple(axis for axis in range(3) if rng.random() < 0.5)
        hu, label = np.flip(hu, flipped), np.flip(label, flipped)
        return {
            "image": channels(hu),
            "label": label[None].astype(np.uint8),
            "case": f"{scan.name}, sample {number}",
        }

    def _window(self, scan: Scan, places: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """HU and outline at 2 mm, without a real nodule or tumour in it."""
        for _ in range(TRIES):
            drawn = self._drawn(scan, places, rng)
            if drawn is not None:
                return drawn
        raise RuntimeError(f"no window of {scan.name} is free of what is real")

    def _drawn(
        self, scan: Scan, places: Array, rng: np.random.Generator
    ) -> tuple[Array, Array] | None:
        hu, outline = scan.hu, np.zeros(scan.hu.shape, np.uint8)
        middle = places[rng.integers(len(places))].astype(float)
        if rng.random() < WITH_NODULE:
            shapes = self.by_size[rng.integers(len(self.by_size))]
            shape = shapes[rng.integers(len(shapes))]
            placed = find_place(shape, scan, scan.left_out, places, rng)
            if placed is None:
                return None
            densities = self.backgrounds.densities
            density = densities[rng.integers(len(densities))]
            hu, middle = scan.hu.copy(), placed.centre
            outline[placed.box] = insert(hu, scan, placed, density, rng)
        return _cut(scan, hu, outline, middle, rng)


def _cut(
    scan: Scan, hu: Array, outline: Array, middle: Array, rng: np.random.Generator
) -> tuple[Array, Array] | None:
    """A window of the working grid around a place of the scan, which is moved off its centre."""
    step = np.array([scan.spacing_mm[0] / WORKING_MM, 1.0, 1.0])
    planes = working_slices(len(hu), scan.spacing_mm[0])
    size = np.array([len(planes), *hu.shape[1:]])
    moved = rng.integers(-OFF_CENTRE, OFF_CENTRE + 1, 3)
    low = np.round(middle * step).astype(int) + moved - WINDOW // 2
    low = np.clip(low, 0, np.maximum(0, size - WINDOW))
    k, j, i = (slice(a, a + WINDOW) for a in low)
    first, last = int(planes[k][0]), int(np.ceil(planes[k][-1])) + 1
    if scan.left_out[first:last, j, i].any():
        return None
    # the whole scan's planes, as each lies where the working grid has it
    there = planes[k] - first
    below = there.astype(int)
    above = np.minimum(below + 1, last - first - 1)
    share = (there - below)[:, None, None]
    cut = [
        part[first:last, j, i][below] * (1 - share) + part[first:last, j, i][above] * share
        for part in (hu, outline)
    ]
    return _padded(cut[0], -1000.0), _padded(cut[1], 0.0) >= 0.5


def _padded(array: Array, value: float) -> Array:
    """Filled up to a window behind the scan's last plane."""
    missing = [(0, WINDOW - n) for n in array.shape]
    return np.pad(array, missing, constant_values=value)
