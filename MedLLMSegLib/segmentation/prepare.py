"""Volume -> a normalised array on the network's grid, and the `Restore` record that leads back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import (
    Grid,
    aligned_grid,
    covering_grid,
    overlap_box,
    sub_grid,
)
from MedLLMSegLib.core.percentiles import percentiles
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.config_checks import config_from_json, json_object
from MedLLMSegLib.registry.input_channels import GreyScale, InputChannel, channels_of

MOST_VOXELS = 2e9  # of a whole scan on a network's grid: 8 GB as float32

# One number for every axis, or (k, j, i), in mm.
Spacing: TypeAlias = float | Sequence[float]


@dataclass(frozen=True, eq=False)
class Restore:
    """What preprocessing did: the voxels of `scan` were sampled on `crop`.

    Orientation, spacing, crop, padding and mirroring are all differences between these two grids,
    so the way back needs nothing else.
    """

    scan: Grid
    crop: Grid


@dataclass(frozen=True)
class Preparation:
    """How a whole scan is prepared for a network.

    spacing_mm, axes: of the network's grid; see `whole_grid`. grey: see `normalise`. channels: the
    images of a patient that the network takes, each with its own normalisation; () for one image
    that is normalised by ``grey``.
    """

    spacing_mm: float | tuple[float, float, float]
    axes: str = "ras"
    grey: GreyScale | None = None
    channels: tuple[InputChannel, ...] = ()

    def __post_init__(self) -> None:
        spacing = self.spacing_mm if isinstance(self.spacing_mm, tuple) else (self.spacing_mm,)
        if not all(size > 0 for size in spacing):
            raise UserError(f"Preparation.spacing_mm is {self.spacing_mm}, and must be above 0.")

    @property
    def scales(self) -> tuple[GreyScale | None, ...]:
        """The normalisation of each image."""
        return tuple(channel.grey for channel in self.channels) or (self.grey,)

    @classmethod
    def from_settings(cls, settings: Json) -> Preparation:
        """settings: a bundle's "preprocessing", which holds more than this.

        Raises `UserError` for settings that are no object, without a spacing, or of a wrong kind.
        """
        stated = json_object(settings, cls.__name__)
        known = {field.name: stated[field.name] for field in fields(cls) if field.name in stated}
        if "spacing_mm" not in known:
            raise UserError(
                "The settings of Preparation state no spacing_mm, which is needed; the file is"
                " damaged."
            )
        known |= {"grey": known.get("grey") or None, "channels": channels_of(stated)}
        return config_from_json(cls, known)


def prepare_whole(volume: Volume, preparation: Preparation) -> tuple[NDArray[np.float32], Restore]:
    """A whole scan on the network's grid, normalised: (float32 as the scan's array, Restore).

    Raises `UserError` for more than `MOST_VOXELS`. The usual cause is a header whose unit is not
    the millimetre.
    """
    return prepare(volume, checked_whole_grid(volume, preparation), *preparation.scales)


def checked_whole_grid(volume: Volume, preparation: Preparation) -> Grid:
    """The network's grid over a whole scan; raises `UserError` for more than `MOST_VOXELS`."""
    grid = whole_grid(volume, preparation.spacing_mm, preparation.axes)
    voxels = np.prod(grid.shape, dtype=float)
    if voxels > MOST_VOXELS:
        extent_m = max(volume.grid.extent_mm) / 1000
        raise UserError(
            f'By its voxel size "{volume.name}" covers {extent_m:.1f} m, which is {voxels:.2g}'
            f" voxels on the model's grid. At most {MOST_VOXELS:.2g} fit; correct the spacing in"
            " the file's header, or use a part of the scan."
        )
    return grid


def prepare(
    volume: Volume, crop: Grid, *scales: GreyScale | None
) -> tuple[NDArray[np.float32], Restore]:
    """Sample a scan on a crop's grid and normalise it: (float32 [k, j, i], Restore).

    volume: one image, or several as the channels [c, k, j, i], which come back as such. scales: the
    normalisation of each image (see `normalise`); none for each scan by itself. Only the part of
    the scan around the crop is read, so the cost does not grow with the scan.
    """
    margin = 2 + int(np.ceil(max(crop.spacing_mm) / min(volume.spacing_mm)))
    box = overlap_box(volume.grid, crop, margin)
    part = sub_grid(volume.grid, box)
    images = volume.array.reshape(-1, *volume.grid.shape)  # (c, k, j, i)
    array = np.empty((len(images), *crop.shape), np.float32)
    for image, out, grey in zip(images, array, scales or [None] * len(images), strict=True):
        resample(image[box], part, crop, out=out)
        normalise_in_place(out, grey)
    return (array if volume.array.ndim == 4 else array[0]), Restore(volume.grid, crop)


def whole_grid(
    volume: Volume, spacing_mm: Spacing, axes: str = "ras", mirrored: bool = False
) -> Grid:
    """The network's grid over a whole scan.

    spacing_mm: one number, or (k, j, i). axes: "ras" runs along right, anterior, superior. "scan"
    runs along the scan's own axes with k across its slices, for scans with thick slices. mirrored:
    with "ras", i runs from right to left.
    """
    if axes == "ras":
        return covering_grid(volume.grid, spacing_mm, mirrored)
    if axes == "scan" and not mirrored:
        return aligned_grid(volume.grid, spacing_mm)
    raise UserError(
        f'The axes of a network\'s grid are "{axes}"{" mirrored" if mirrored else ""}, and "ras" or'
        ' "scan" is needed.'
    )


def normalise(array: Array, grey: GreyScale | None = None) -> NDArray[np.float32]:
    """Clip, then scale to mean 0 and standard deviation 1: a new array of float32.

    Without ``grey``, each scan is clipped to its own 0.5th and 99.5th percentile and scaled by its
    own mean and deviation: raw MR intensities differ by four orders of magnitude between scanners.
    grey: (lowest, highest, mean, standard deviation) for all scans alike, where the same number is
    the same tissue in each scan, as in CT (as nnU-Net does, Isensee et al. 2021).
    """
    values = array.astype(np.float32, order="C")
    normalise_in_place(values, grey)
    return values


def normalise_in_place(values: NDArray[np.float32], grey: GreyScale | None = None) -> None:
    """As `normalise`, for a contiguous array of its own, without another one."""
    if grey is None:
        low, high = percentiles(values, (0.5, 99.5))
        if high <= low:
            low, high = -np.inf, np.inf
        mean, deviation = _clip(values, low, high)
    else:
        low, high, mean, deviation = grey
        np.clip(values, low, high, out=values)
    for part in _parts(values):
        np.subtract(part, np.float32(mean), out=part)
        np.multiply(part, np.float32(1 / max(deviation, 1e-6)), out=part)


def _clip(values: NDArray[np.float32], low: float, high: float) -> tuple[float, float]:
    """Clip in place; returns (mean, standard deviation) afterwards."""
    total = squares = 0.0
    parts = _parts(values)
    for part in parts:
        np.clip(part, low, high, out=part)
        total += float(part.sum(dtype=np.float64))
    mean = total / values.size
    for part in parts:
        deviations = part - np.float64(mean)  # their squares may not fit into float32
        squares += float(np.dot(deviations, deviations))
    return mean, float(np.sqrt(squares / values.size))


def _parts(values: NDArray[np.float32], length: int = 1 << 16) -> list[NDArray[np.float32]]:
    """Views of consecutive voxels, each small enough for the cache."""
    flat = values.reshape(-1)
    return [flat[first : first + length] for first in range(0, flat.size, length)]
