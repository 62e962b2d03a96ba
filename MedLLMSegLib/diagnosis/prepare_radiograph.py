"""A radiograph onto the square that a classifier looks at, and the way back.

Preparation as in PneumoLLM (arXiv 2312.03490): the DICOM file's default window, then a crop to the
rectangle around the lungs. Like every change of grid here, crop and letterbox are two grids
(`SquareCrop`), so a heat map's way back needs nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.geometry import (
    Grid,
    inside_mask,
    regridded,
    square_around,
    sub_grid,
)
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.io.radiograph import Radiograph
from MedLLMSegLib.registry.classifier_config import PreparationConfig

# First index, and the one after the last.
Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, eq=False)
class SquareCrop:
    """What preparation did: `rows` and `columns` of the image were sampled onto the square.

    image, square: grids of one slice, in mm from the image's first pixel.
    """

    image: Grid
    square: Grid
    rows: Span
    columns: Span

    def to_image(self, array: Array) -> NDArray[np.float32]:
        """A map over the whole square on the image's pixels: float32, 0 beyond the crop.

        array: of any number of rows and columns.
        """
        map_grid = regridded(self.square, *array.shape)
        crop = (slice(0, 1), slice(*self.rows), slice(*self.columns))
        on_crop = resample(
            np.asarray(array, np.float32)[None], map_grid, sub_grid(self.image, crop)
        )
        on_image = np.zeros(self.image.shape, np.float32)
        on_image[crop] = on_crop
        return on_image[0]


def prepare_radiograph(
    radiograph: Radiograph, config: PreparationConfig, lungs: Array | None = None
) -> tuple[NDArray[np.float32], SquareCrop]:
    """The square that the network sees, (1, size, size) float32, and the way back.

    lungs: bool (rows, columns), or None for the whole image (as with crop "none"). The crop fills
    the square along its longer side and keeps its proportions in mm. Beyond the crop the square is
    0 after normalising.
    """
    height, width = radiograph.array.shape
    rows, columns = _lung_rectangle(radiograph, config, lungs)
    image = Grid((1, height, width), np.diag([*radiograph.pixel_mm, 1.0, 1.0]))
    crop = sub_grid(image, (slice(0, 1), slice(*rows), slice(*columns)))
    square = square_around(crop, config.size)
    inside = inside_mask(crop, square)[0]
    pixels = radiograph.array[None, slice(*rows), slice(*columns)]
    sampled = resample(pixels, crop, square)[0]
    mean, std = config.mean, config.std
    if config.normalise == "image":
        mean, std = sampled[inside].mean(), max(sampled[inside].std(), 1e-6)
    normalised = np.where(inside, (sampled - mean) / std, 0).astype(np.float32)
    return normalised[None], SquareCrop(image, square, rows, columns)


def _lung_rectangle(
    radiograph: Radiograph, config: PreparationConfig, lungs: Array | None
) -> tuple[Span, Span]:
    """(rows, columns) around the lungs with the margin, within the image."""
    height, width = radiograph.array.shape
    if lungs is None or config.crop == "none":
        return (0, height), (0, width)
    return (
        _span_with_margin(lungs, 0, config.margin),
        _span_with_margin(lungs, 1, config.margin),
    )


def _span_with_margin(lungs: Array, axis: int, margin: float) -> Span:
    """margin: a fraction of the span's length."""
    indices = np.flatnonzero(lungs.any(axis=1 - axis))
    first, end = int(indices[0]), int(indices[-1]) + 1
    extra = round(margin * (end - first))
    return max(0, first - extra), min(lungs.shape[axis], end + extra)
