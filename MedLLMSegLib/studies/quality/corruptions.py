"""Scans that something went wrong with, from slightly to badly: what a predicted Dice is fitted to
and tested on.

Each kind has a strength from 0 (as it is) to 1, and is drawn from the scan's name alone. Some kinds
are for tests only, so that it is seen what a fit is worth where something new goes wrong.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.geometry import sub_grid
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

Labelled: TypeAlias = tuple[Volume, Array]  # a scan, and its labels on the same grid
Change: TypeAlias = Callable[[Array, float, np.random.Generator], Array]
LEVELS = 4  # of strength, the last one 1


@dataclass(frozen=True)
class Corruption:
    """One scan of a study. kind: a key of `KINDS`, "" for the scan as it is. level: 1 to
    `LEVELS`.
    """

    kind: str = ""
    level: int = 0

    @property
    def strength(self) -> float:
        """0 to 1."""
        return self.level / LEVELS

    @property
    def is_new(self) -> bool:
        """Whether no fit has seen this kind."""
        return bool(self.kind) and self.kind not in FITTED_KINDS


def corrupt(scan: Volume, labels: Array, corruption: Corruption) -> Labelled:
    """The scan with a corruption, and its labels.

    scan: [k, j, i]; grey values come back as float32 from 0 to about 1. labels: uint8 [k, j, i].
    """
    if not corruption.kind:
        return scan, labels
    rng = np.random.default_rng(zlib.crc32(f"{corruption.kind} {scan.name}".encode()))
    if corruption.kind in OF_THE_GRID:
        return OF_THE_GRID[corruption.kind](scan, labels, corruption.strength, rng)
    change = {**OF_GREY_VALUES, **ONLY_FOR_TESTS}[corruption.kind]
    return scan.with_array(change(_unit(scan.array), corruption.strength, rng)), labels


def _unit(array: Array) -> Array:
    """float32 from 0 to 1, by percentiles."""
    low, high = np.percentile(array, (0.5, 99.5))
    unit: Array = np.clip((array.astype(np.float32) - low) / max(float(high - low), 1e-6), 0, 1)
    return unit


# ---- of grey values ----


def _noise(array: Array, strength: float, rng: np.random.Generator) -> Array:
    """Gaussian, up to 1.5 standard deviations of the image."""
    noise = rng.normal(0, 1.5 * strength * float(array.std()), array.shape)
    return (array + noise).astype(np.float32)


def _bias(array: Array, strength: float, rng: np.random.Generator) -> Array:
    """A smooth field, up to nine times as bright at one end as at the other."""
    direction = rng.normal(size=3)
    direction /= np.abs(direction).sum()
    axes = np.ix_(*(np.linspace(-1, 1, n, dtype=np.float32) for n in array.shape))
    slope = sum(d * axis for d, axis in zip(direction, axes, strict=True))
    return (array * np.exp(1.1 * strength * slope * 2)).astype(np.float32)


def _gamma(array: Array, strength: float, rng: np.random.Generator) -> Array:
    """An exponent up to 4 or down to 1/4."""
    exponent = 4.0 ** (strength * rng.choice((-1, 1)))
    return (array**exponent).astype(np.float32)


def _inverted(array: Array, strength: float, rng: np.random.Generator) -> Array:
    """From the contrast as it is to its negative; in between what was grey is bright."""
    turned = (1 - strength) * array + strength * (1 - array)
    fold = np.abs(array - 0.5) * (0.5 - abs(strength - 0.5))
    return (turned - fold).astype(np.float32)


def _blur(array: Array, strength: float, rng: np.random.Generator) -> Array:
    """A Gaussian, up to 3 voxels in the two finer directions."""
    sigma = [3.0 * strength if n > 16 else 0.0 for n in array.shape]
    blurred: Array = ndimage.gaussian_filter(array, sigma)
    return blurred


def _ghosts(array: Array, strength: float, rng: np.random.Generator) -> Array:
    """Copies of the image, shifted by a third of it along j, as of a body that moved."""
    shift = array.shape[1] // 3
    ghosts = np.roll(array, shift, 1) + np.roll(array, -shift, 1)
    return (array + 0.6 * strength * ghosts).astype(np.float32)


def _stripes(array: Array, strength: float, rng: np.random.Generator) -> Array:
    """A wave across the image, as of a spark in the measured frequencies."""
    k, j, i = np.indices(array.shape)
    waves = rng.uniform(0.4, 1.2, 3) * rng.choice((-1, 1), 3)
    wave = np.sin(waves[0] * k + waves[1] * j + waves[2] * i)
    return (array + 0.5 * strength * wave).astype(np.float32)


def _hole(array: Array, strength: float, rng: np.random.Generator) -> Array:
    """A ball without signal near the middle, as beside metal; up to a third of the image wide."""
    sizes = np.array(array.shape)
    centre = sizes * rng.uniform(0.35, 0.65, 3)
    radius = np.maximum(1.0, strength * sizes / 6)
    axes = np.ix_(*((np.arange(n) - c) / r for n, c, r in zip(sizes, centre, radius, strict=True)))
    inside = sum(axis**2 for axis in axes) < 1
    return np.where(inside, 0, array).astype(np.float32)


# ---- of the grid ----


def _cut(scan: Volume, labels: Array, strength: float, rng: np.random.Generator) -> Labelled:
    """Up to half of the image is missing, at one end of one axis."""
    axis = int(rng.integers(3))
    length = scan.array.shape[axis]
    keep = max(4, round(length * (1 - strength / 2)))
    start = 0 if rng.random() < 0.5 else length - keep
    box = [slice(0, n) for n in scan.array.shape]
    box[axis] = slice(max(0, start), max(0, start) + keep)
    k, j, i = box
    grid = sub_grid(scan.grid, (k, j, i))
    return replace(
        scan, array=scan.array[k, j, i].copy(), ijk_to_ras=grid.ijk_to_ras, forms=None
    ), labels[k, j, i].copy()


def _pixel_size(scan: Volume, labels: Array, strength: float, rng: np.random.Generator) -> Labelled:
    """The header names pixels up to 2.2 times as large as they are, or as small."""
    factor = 2.2 ** (strength * rng.choice((-1, 1)))
    matrix = np.asarray(scan.ijk_to_ras, float).copy()
    thick = _thick_axis(scan)
    for column in range(3):
        if column != thick:
            matrix[:3, column] *= factor
    return replace(scan, ijk_to_ras=matrix, forms=None), labels


def _thick_axis(scan: Volume) -> int | None:
    """The column (i, j, k) of much thicker slices, whose thickness a header seldom gets wrong."""
    i, j, k = (float(s) for s in scan.spacing_mm[::-1])
    largest = max(i, j, k)
    return (i, j, k).index(largest) if largest > 2 * min(i, j, k) else None


def _turned(scan: Volume, labels: Array, strength: float, rng: np.random.Generator) -> Labelled:
    """Turned about the k axis by up to 90 degrees, with nothing said of it in the header."""
    degrees = 90 * strength * float(rng.choice((-1, 1)))
    image = ndimage.rotate(
        scan.array.astype(np.float32), degrees, (1, 2), reshape=False, order=1, mode="nearest"
    )
    turned = ndimage.rotate(labels, degrees, (1, 2), reshape=False, order=0)
    return replace(scan, array=image, forms=None), turned


def _slipped(scan: Volume, labels: Array, strength: float, rng: np.random.Generator) -> Labelled:
    """Slices along the thickest axis (k where all are alike) shifted against each other by up to
    12 mm, as between two breaths.
    """
    thick = _thick_axis(scan)
    axis = 0 if thick is None else 2 - thick
    image, moved = scan.array.astype(np.float32).copy(), labels.copy()
    spacing = [s for n, s in enumerate(scan.spacing_mm) if n != axis]
    for n in range(scan.array.shape[axis]):
        shift = [
            round(mm / s) for mm, s in zip(rng.uniform(-12, 12, 2) * strength, spacing, strict=True)
        ]
        place = tuple(n if a == axis else slice(None) for a in range(3))
        image[place] = np.roll(image[place], shift, (0, 1))
        moved[place] = np.roll(moved[place], shift, (0, 1))
    return replace(scan, array=image, forms=None), moved


OF_GREY_VALUES: dict[str, Change] = {
    "noise": _noise,
    "bias field": _bias,
    "gamma": _gamma,
    "inverted contrast": _inverted,
    "blur": _blur,
}
OF_THE_GRID: dict[str, Callable[[Volume, Array, float, np.random.Generator], Labelled]] = {
    "cut": _cut,
    "pixel size": _pixel_size,
    "turned": _turned,
    "slices that slipped": _slipped,
}
ONLY_FOR_TESTS: dict[str, Change] = {"ghosts": _ghosts, "stripes": _stripes, "hole": _hole}
FITTED_KINDS = (*OF_GREY_VALUES, *OF_THE_GRID)
KINDS = (*FITTED_KINDS, *ONLY_FOR_TESTS)


def drawn(number: int, kinds: tuple[str, ...], each: int) -> list[Corruption]:
    """What is done to the scan with a number: nothing, and then some kinds of corruption.

    each: how many. Kinds and levels go round from scan to scan, so that all of both are met.
    """
    chosen = [Corruption()]
    for n in range(min(each, len(kinds))):
        turn = number * each + n
        level = 1 + (turn % len(kinds) + turn // len(kinds)) % LEVELS
        chosen.append(Corruption(kinds[turn % len(kinds)], level))
    return chosen
