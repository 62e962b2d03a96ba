"""A volume, or several of them, as a sequence of images for a classifier of sequences; and a
map's way back to the voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, regridded, square_around
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.registry.classifier_config import PreparationConfig


@dataclass(frozen=True, eq=False)
class ImageSequence:
    """T steps of C images each.

    images: (T, C, size, size) float32. slices: (T, C), the slice along k that each came from.
    volumes: (T, C), the number of its volume. image, square: grids of one slice [1, j, i], in mm
    from its first voxel, for `to_slice`.
    """

    images: NDArray[np.float32]
    slices: NDArray[np.int_]
    volumes: NDArray[np.int_]
    image: Grid
    square: Grid

    def to_slice(self, array: Array) -> Array:
        """A map over the whole square, of any size, on the slice's voxels [j, i]: float32."""
        map_grid = regridded(self.square, *array.shape)
        return resample(np.asarray(array, np.float32)[None], map_grid, self.image)[0]


def sequence_from_slices(
    volume: Volume, config: PreparationConfig, longest: int = 0
) -> ImageSequence:
    """Each slice along k is a step of one channel.

    longest: the most steps, evenly spaced; 0 for all slices.
    """
    count = volume.array.shape[0]
    slices = evenly(count, longest or count)[:, None]
    return _sequence([volume], slices, np.zeros_like(slices), config)


def sequence_from_frames(
    volumes: Sequence[Volume], config: PreparationConfig, slices: int = 1, longest: int = 0
) -> ImageSequence:
    """Each volume is a step.

    slices: how many of its slices along k, evenly spaced, are its channels. longest: the most
    steps; 0 for all volumes. Raises `UserError` for volumes of different shapes.
    """
    first = volumes[0]
    for other in volumes[1:]:
        if other.array.shape != first.array.shape:
            raise UserError(
                f'"{other.name}" has {_shape_text(other)} voxels and "{first.name}"'
                f" {_shape_text(first)}; the frames of a sequence need one grid."
            )
    frames = evenly(len(volumes), longest or len(volumes))
    channels = evenly(first.array.shape[0], slices, repeat=True)
    slice_numbers, volume_numbers = np.meshgrid(channels, frames)  # (T, C) each
    return _sequence(volumes, slice_numbers, volume_numbers, config)


def _shape_text(volume: Volume) -> str:
    return " x ".join(map(str, volume.array.shape[::-1]))


def evenly(count: int, wanted: int, repeat: bool = False) -> NDArray[np.int_]:
    """The indices of ``wanted`` of ``count`` things, from the middles of equal parts, rising.

    repeat: where there are fewer things, return as many indices as wanted, some of them twice.
    """
    wanted = wanted if repeat else min(count, wanted)
    return np.floor((np.arange(wanted) + 0.5) * count / wanted).astype(int)


def check_sequence_volume(volume: Volume) -> None:
    """As `check_scan`, but a single slice is accepted: it is a sequence of one.

    Raises `UserError`.
    """
    if volume.array.ndim == 3 and len(volume.array) == 1:
        volume = volume.with_array(np.repeat(volume.array, 2, axis=0))
    check_scan(volume)


def _sequence(
    volumes: Sequence[Volume],
    slice_numbers: NDArray[np.int_],
    volume_numbers: NDArray[np.int_],
    config: PreparationConfig,
) -> ImageSequence:
    """slice_numbers, volume_numbers: (T, C)."""
    for volume in volumes:
        check_sequence_volume(volume)
    _, height_mm, width_mm = volumes[0].spacing_mm
    _, rows, columns = volumes[0].array.shape
    image = Grid((1, rows, columns), np.diag([width_mm, height_mm, 1.0, 1.0]))
    square = square_around(image, config.size)
    levels = [_grey_levels(volume.array, config) for volume in volumes]
    images = np.empty((*slice_numbers.shape, config.size, config.size), np.float32)
    for step, channel in np.ndindex(slice_numbers.shape):
        number = int(volume_numbers[step, channel])
        pixels = volumes[number].array[slice_numbers[step, channel]]
        grey = levels[number].normalise(pixels)
        images[step, channel] = resample(grey[None], image, square, outside=0.0)[0]
    return ImageSequence(images, slice_numbers, volume_numbers, image, square)


@dataclass(frozen=True)
class _GreyLevels:
    """How a volume's grey values are normalised: clipped to low and high, then (x - mean) / std."""

    mean: float
    std: float
    low: float
    high: float

    def normalise(self, array: Array) -> Array:
        """Grey values of a slice, normalised."""
        clipped = np.clip(array.astype(np.float32), self.low, self.high)
        return (clipped - self.mean) / self.std


def _grey_levels(array: Array, config: PreparationConfig) -> _GreyLevels:
    """Clipped to the 0.5th and 99.5th percentile, then as configured.

    Over the whole volume, not slice by slice, so that slices stay comparable.
    """
    low, high = (float(value) for value in np.percentile(array, (0.5, 99.5)))
    if not high > low:
        low, high = float(array.min()), float(array.max())
    if config.normalise == "fixed":  # mean and std are of the percentiles' 0 to 1
        span = high - low
        return _GreyLevels(low + config.mean * span, config.std * span, low, high)
    clipped = np.clip(array, low, high).astype(np.float32)
    return _GreyLevels(float(clipped.mean()), max(float(clipped.std()), 1e-6), low, high)
