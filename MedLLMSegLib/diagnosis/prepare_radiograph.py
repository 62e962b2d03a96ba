"""A radiograph onto the square that a classifier looks at, and the way back.

Preparation as in PneumoLLM (arXiv 2312.03490): the DICOM file's default window, then a crop to the
rectangle around the lungs. Like every change of grid here, crop and letterbox are two grids
(`Box`), so a heat map's way back needs nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.geometry import (
    Grid,
    inside_mask,
    regridded,
    resample,
    square_around,
    sub_grid,
)
from MedLLMSegLib.io.radiograph import Radiograph
from MedLLMSegLib.registry.classifier_config import PreparationConfig


@dataclass(frozen=True, eq=False)
class Box:
    """What preparation did: `rows` and `columns` (half-open) of the image were sampled onto the
    square.

    image, square: grids of one slice, in mm from the image's first pixel.
    """

    image: Grid
    square: Grid
    rows: tuple[int, int]
    columns: tuple[int, int]

    def to_image(self, array: np.ndarray) -> np.ndarray:
        """A map over the whole square, of any number of rows and columns, on the image's pixels:
        float32, 0 beyond the crop.
        """
        there = regridded(self.square, *array.shape)
        found, whole = (
            np.zeros(self.image.shape[1:], np.float32),
            (slice(0, 1), slice(*self.rows), slice(*self.columns)),
        )
        found[whole[1:]] = resample(
            np.asarray(array, np.float32)[None], there, sub_grid(self.image, whole)
        )[0]
        return found


def prepare_radiograph(
    radiograph: Radiograph, config: PreparationConfig, lungs: np.ndarray | None = None
) -> tuple[np.ndarray, Box]:
    """The square that the network sees, and the way back.

    lungs: bool (rows, columns), or None for the whole image (as with crop "none"). Returns ((1,
    size, size) float32, `Box`): the crop fills the square along its longer side and keeps its
    proportions in mm; what is beyond it is 0 after normalising.
    """
    rows, columns = _rectangle(radiograph.array.shape, config, lungs)
    height, width = radiograph.array.shape
    image = Grid((1, height, width), np.diag([*radiograph.pixel_mm, 1.0, 1.0]))
    part = sub_grid(image, (slice(0, 1), slice(*rows), slice(*columns)))
    square = square_around(part, config.size)
    seen = inside_mask(part, square)[0]
    sampled = resample(radiograph.array[None, slice(*rows), slice(*columns)], part, square)[0]
    mean, std = config.mean, config.std
    if config.normalise == "image":
        mean, std = sampled[seen].mean(), max(sampled[seen].std(), 1e-6)
    return np.where(seen, (sampled - mean) / std, 0).astype(np.float32)[None], Box(
        image, square, rows, columns
    )


def _rectangle(
    shape: tuple[int, int], config: PreparationConfig, lungs: np.ndarray | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(rows, columns), half-open: around the lungs with the margin, within the image."""
    if lungs is None or config.crop == "none":
        return (0, shape[0]), (0, shape[1])
    found = []
    for axis, length in enumerate(shape):
        places = np.flatnonzero(lungs.any(1 - axis))
        margin = round(config.margin * (places[-1] + 1 - places[0]))
        found.append((max(0, int(places[0]) - margin), min(length, int(places[-1]) + 1 + margin)))
    return tuple(found)
