"""A volume, or several of them, as a sequence of images for a classifier of sequences; and a
map's way back to the voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, regridded, resample, square_around
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.registry.classifier_config import PreparationConfig


@dataclass(frozen=True, eq=False)
class ImageSequence:
    """images: (T, C, size, size) float32. slices: (T, C) which slice along k each came from.
    volumes: (T, C) of which volume.

    image, square: grids of one slice [1, j, i], in mm from its first voxel: what `to_volume` needs.
    """

    images: np.ndarray
    slices: np.ndarray
    volumes: np.ndarray
    image: Grid
    square: Grid

    def to_slice(self, array: np.ndarray) -> np.ndarray:
        """A map over the whole square, of any size, on the slice's voxels [j, i]: float32."""
        there = regridded(self.square, *array.shape)
        return resample(np.asarray(array, np.float32)[None], there, self.image)[0]


def sequence_from_slices(
    volume: Volume, config: PreparationConfig, longest: int = 0
) -> ImageSequence:
    """Each slice along k is a step of one channel. longest: at most so many, evenly spaced; 0
    for all.
    """
    chosen = evenly(volume.array.shape[0], longest or volume.array.shape[0])
    return _steps([volume], chosen[:, None], np.zeros((len(chosen), 1), int), config)


def sequence_from_frames(
    volumes: Sequence[Volume], config: PreparationConfig, slices: int = 1, longest: int = 0
) -> ImageSequence:
    """Each volume is a step; its channels are so many of its slices along k, evenly spaced. All
    must have one grid.
    """
    for other in volumes[1:]:
        if other.array.shape != volumes[0].array.shape:
            raise UserError(
                f'"{other.name}" has {" x ".join(map(str, other.array.shape[::-1]))} voxels and'
                f' "{volumes[0].name}" '
                f"{' x '.join(map(str, volumes[0].array.shape[::-1]))}; the frames of a sequence"
                " need one grid."
            )
    which = evenly(len(volumes), longest or len(volumes))
    chosen = evenly(volumes[0].array.shape[0], slices, repeat=True)
    return _steps(
        volumes, np.tile(chosen, (len(which), 1)), np.tile(which[:, None], (1, slices)), config
    )


def evenly(count: int, wanted: int, repeat: bool = False) -> np.ndarray:
    """The indices of ``wanted`` of ``count`` things, from the middles of equal parts, rising; fewer
    where there are fewer.

    repeat: as many as wanted also where there are fewer, some of them twice.
    """
    wanted = wanted if repeat else min(count, wanted)
    return np.floor((np.arange(wanted) + 0.5) * count / wanted).astype(int)


def check_steps(volume: Volume) -> None:
    """As `check_scan`, but one slice will do: a patch is a sequence of one. Raises `UserError`."""
    flat = volume.array.ndim == 3 and len(volume.array) == 1
    check_scan(volume.with_array(np.repeat(volume.array, 2, axis=0)) if flat else volume)


def _steps(
    volumes: Sequence[Volume], slices: np.ndarray, which: np.ndarray, config: PreparationConfig
) -> ImageSequence:
    for each in volumes:
        check_steps(each)
    first = volumes[0]
    mm = first.spacing_mm  # (k, j, i)
    image = Grid((1, *first.array.shape[1:]), np.diag([mm[2], mm[1], 1.0, 1.0]))
    square = square_around(image, config.size)
    levels = [_levels(volume.array, config) for volume in volumes]
    images = np.empty((*slices.shape, config.size, config.size), np.float32)
    for step, channel in np.ndindex(slices.shape):
        volume, (mean, std, low, high) = volumes[which[step, channel]], levels[which[step, channel]]
        values = np.clip(volume.array[slices[step, channel]].astype(np.float32), low, high)
        images[step, channel] = resample(((values - mean) / std)[None], image, square, outside=0.0)[
            0
        ]
    return ImageSequence(images, slices, which, image, square)


def _levels(array: np.ndarray, config: PreparationConfig) -> tuple[float, float, float, float]:
    """(mean, std, low, high) of a volume's grey values: clipped to the 0.5th and 99.5th percentile,
    then as configured.

    Over the whole volume, not slice by slice, so that slices stay comparable.
    """
    low, high = (float(v) for v in np.percentile(array, (0.5, 99.5)))
    if not high > low:
        low, high = float(array.min()), float(array.max())
    if config.normalise == "fixed":  # of the percentiles' 0 to 1
        return low + config.mean * (high - low), config.std * (high - low), low, high
    clipped = np.clip(array, low, high).astype(np.float32)
    return float(clipped.mean()), max(float(clipped.std()), 1e-6), low, high
