"""Lung masks: from a file or an array of labels to the pixels of a radiograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array, PathLike

from .pictures import is_picture, read_picture
from .radiograph import AS_PICTURE, Radiograph
from .volume_files import load_volume, scan_name


def load_lung_mask(path: PathLike, radiograph: Radiograph) -> NDArray[np.bool_]:
    """Bool (rows, columns): where the lungs are on the radiograph.

    path: a picture, or a volume of one slice, on the radiograph's pixels. Raises `UserError`.
    """
    path = Path(path).expanduser()
    is_existing_picture = is_picture(path) and path.exists()
    volume = read_picture(path).volume if is_existing_picture else load_volume(path, AS_PICTURE)
    return lung_mask_of(volume.array, radiograph, scan_name(path))


def lung_mask_of(
    labels: Array, radiograph: Radiograph, name: str = "lung mask"
) -> NDArray[np.bool_]:
    """Bool (rows, columns) of `Radiograph.array`: where the labels are not 0.

    labels: any values, 0 outside the lungs, on the pixels as they are stored. Raises `UserError`.
    """
    rows, columns = radiograph.orientation.stored_shape(radiograph.array.shape)
    if _without_single_axes(labels.shape) != _without_single_axes((rows, columns)):
        size = " x ".join(map(str, labels.shape[::-1]))
        raise UserError(
            f'The lung mask "{name}" has {size} pixels and "{radiograph.volume.name}" {columns} x'
            f" {rows}; draw it on the image itself."
        )
    mask = radiograph.orientation.to_shown(np.asarray(labels).reshape(rows, columns) != 0)
    if not mask.any():
        raise UserError(f'The lung mask "{name}" is empty; draw the lungs in it, or leave it out.')
    return mask


def _without_single_axes(shape: tuple[int, ...]) -> list[int]:
    return [n for n in shape if n != 1]
