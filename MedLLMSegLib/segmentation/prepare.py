"""Volume -> a normalised array on the network's grid, and the `Restore` record that leads back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import (
    Grid,
    aligned_grid,
    covering_grid,
    overlap_box,
    resample,
    sub_grid,
)
from MedLLMSegLib.core.volume import Volume

MOST_VOXELS = 2e9  # of a whole scan on a network's grid: 8 GB as float32


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
    """How a whole scan is brought to a network. spacing_mm, axes: of its grid (`whole_grid`).
    grey: see `normalise`.
    """

    spacing_mm: float | tuple[float, ...]
    axes: str = "ras"
    grey: tuple[float, float, float, float] | None = None

    @classmethod
    def from_settings(cls, settings: dict) -> Preparation:
        """As a bundle's "preprocessing" says it."""
        grey = settings.get("grey")
        return cls(
            settings["spacing_mm"],
            settings.get("axes", "ras"),
            tuple(float(v) for v in grey) if grey else None,
        )


def prepare_whole(volume: Volume, how: Preparation) -> tuple[np.ndarray, Restore]:
    """A whole scan on the network's grid, normalised: (float32 [k, j, i], Restore).

    Raises `UserError` for more than `MOST_VOXELS`, most often because a header states another unit
    than mm.
    """
    grid = whole_grid(volume, how.spacing_mm, how.axes)
    voxels = np.prod(grid.shape, dtype=float)
    if voxels > MOST_VOXELS:
        raise UserError(
            f'By its voxel size "{volume.name}" covers {max(volume.grid.extent_mm) / 1000:.1f} m,'
            " which is "
            f"{voxels:.2g} voxels on the model's grid, and {MOST_VOXELS:.2g} at most fit; correct"
            " the spacing in "
            "the file's header, or use a part of the scan."
        )
    return prepare(volume, grid, how.grey)


def prepare(
    volume: Volume, crop: Grid, grey: tuple[float, ...] | None = None
) -> tuple[np.ndarray, Restore]:
    """Sample a scan on a crop's grid and normalise it: (float32 [k, j, i], Restore). grey: see
    `normalise`.

    Only the part of the scan around the crop is read, so the cost does not grow with the scan.
    """
    margin = 2 + int(np.ceil(max(crop.spacing_mm) / min(volume.spacing_mm)))
    box = overlap_box(volume.grid, crop, margin)
    array = resample(volume.array[box], sub_grid(volume.grid, box), crop)
    return normalise(array, grey), Restore(volume.grid, crop)


def whole_grid(volume: Volume, spacing_mm, axes: str = "ras", mirrored: bool = False) -> Grid:
    """The network's grid over a whole scan.

    spacing_mm: one number, or (k, j, i). axes: "ras" runs along right, anterior, superior; "scan"
    along the scan's own axes with k across its slices, for scans with thick ones. mirrored: with
    "ras", i runs from right to left.
    """
    if axes == "ras":
        return covering_grid(volume.grid, spacing_mm, mirrored)
    if axes == "scan" and not mirrored:
        return aligned_grid(volume.grid, spacing_mm)
    raise UserError(
        f'The axes of a network\'s grid are "{axes}"{" mirrored" if mirrored else ""}, and "ras" or'
        ' "scan" is needed.'
    )


def normalise(array: np.ndarray, grey: tuple[float, ...] | None = None) -> np.ndarray:
    """Clip, then mean 0 and standard deviation 1, as float32.

    Each scan by itself, at its 0.5th and 99.5th percentile: raw MR intensities differ by four
    orders of magnitude between scanners. grey: (lowest, highest, mean, standard deviation) for all
    scans alike, where the same number is the same tissue in each, as in CT (as nnU-Net does,
    Isensee et al. 2021).
    """
    if grey is not None:
        low, high, mean, deviation = grey
        return ((np.clip(array, low, high) - mean) / max(deviation, 1e-6)).astype(np.float32)
    low, high = np.percentile(array, (0.5, 99.5))
    clipped = (
        np.clip(array, low, high).astype(np.float32) if high > low else array.astype(np.float32)
    )
    return (clipped - clipped.mean()) / max(float(clipped.std()), 1e-6)
