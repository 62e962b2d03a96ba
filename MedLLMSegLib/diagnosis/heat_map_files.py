"""A heat map over its image, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import atomic_write, write_error
from MedLLMSegLib.io.itk_images import itk_warnings_off

from .result import Diagnosis

LONGEST = 1024  # pixels of the picture's longer side
STRONGEST = 0.6  # how much of the colour covers the image where the map is 1


def overlay(diagnosis: Diagnosis) -> np.ndarray:
    """(rows, columns, 3) uint8: the image in grey, what speaks for the class from red to yellow
    over it.
    """
    heat = diagnosis.heat_map.array.reshape(
        -1, *diagnosis.orientation.stored_shape(diagnosis.shown.shape)
    )
    heat = diagnosis.orientation.to_shown(heat[diagnosis.shown_slice if len(heat) > 1 else 0])
    step = -(-max(heat.shape) // LONGEST)
    grey, heat = diagnosis.shown[::step, ::step, None], heat[::step, ::step, None]
    colour = np.concatenate([np.ones_like(heat), heat, np.zeros_like(heat)], axis=2)
    return (
        np.rint(255 * (grey * (1 - STRONGEST * heat) + colour * STRONGEST * heat))
        .clip(0, 255)
        .astype(np.uint8)
    )


def write_overlay(diagnosis: Diagnosis, path) -> Path:
    """Write `overlay` as PNG, whole or not at all. Raises `UserError`."""
    path = Path(path)
    image = sitk.GetImageFromArray(overlay(diagnosis), isVector=True)
    with atomic_write(path, ".png") as temporary:
        try:
            with itk_warnings_off():
                sitk.WriteImage(image, str(temporary))
        except (RuntimeError, UserError) as error:
            raise write_error(path, error) from error
    return path
