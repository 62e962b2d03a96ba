"""A heat map over its image, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import atomic_write, write_error
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.io.itk_images import itk_calls

from .result import Diagnosis

LONGEST = 1024  # pixels of the picture's longer side
STRONGEST = 0.6  # how much of the colour covers the image where the map is 1


def overlay(diagnosis: Diagnosis) -> NDArray[np.uint8]:
    """(rows, columns, 3) uint8: the image in grey, and over it the evidence for the class from red
    to yellow.

    Raises `ValueError` for a diagnosis without a heat map.
    """
    if diagnosis.heat_map is None or diagnosis.shown is None:
        raise ValueError("the diagnosis has no heat map")
    orientation = diagnosis.orientation
    stored_shape = orientation.stored_shape(diagnosis.shown.shape)
    slices = diagnosis.heat_map.array.reshape(-1, *stored_shape)
    heat = orientation.to_shown(slices[diagnosis.shown_slice if len(slices) > 1 else 0])
    step = -(-max(heat.shape) // LONGEST)
    grey = diagnosis.shown[::step, ::step, None]
    heat = heat[::step, ::step, None]
    colour = np.concatenate([np.ones_like(heat), heat, np.zeros_like(heat)], axis=2)
    blended = grey * (1 - STRONGEST * heat) + colour * STRONGEST * heat
    return np.rint(255 * blended).clip(0, 255).astype(np.uint8)


def write_overlay(diagnosis: Diagnosis, path: PathLike) -> Path:
    """Write `overlay` as PNG, whole or not at all. Raises `UserError`."""
    path = Path(path)
    image = sitk.GetImageFromArray(overlay(diagnosis), isVector=True)
    with atomic_write(path, ".png") as temporary:
        try:
            with itk_calls():
                sitk.WriteImage(image, str(temporary))
        except (RuntimeError, UserError) as error:
            raise write_error(path, error) from error
    return path
