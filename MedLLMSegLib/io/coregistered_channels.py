"""Several images of one patient as the channels of one image, such as a CT with a PET."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MedLLMSegLib.core.errors import UserError

from .radiograph import UNKNOWN_PIXEL_MM, Radiograph

ADVICE = "the images of one patient must be co-registered: resample one onto the other."


def coregistered_channel(reference: Radiograph, other: Radiograph, channel: str) -> Radiograph:
    """Another image of the same patient, placed on the pixels of the reference.

    Both must be co-registered. As displayed, they must have as many rows and columns, and pixels of
    the same size (to 1 %) if both files state it; where in the body they lie is not compared.
    Raises `UserError`, which names the channel.
    """
    subject = f'The channel {channel} is "{other.volume.name}" with'
    reference_name = reference.volume.name
    if other.array.shape != reference.array.shape:
        raise UserError(
            f'{subject} {_size_text(other)} pixels, beside "{reference_name}" with'
            f" {_size_text(reference)}; {ADVICE}"
        )
    both_known = _is_pixel_size_known(reference) and _is_pixel_size_known(other)
    if both_known and not np.allclose(other.pixel_mm, reference.pixel_mm, rtol=0.01):
        raise UserError(
            f'{subject} pixels of {_pixel_text(other)} mm, beside "{reference_name}" with'
            f" {_pixel_text(reference)} mm; {ADVICE}"
        )
    return replace(other, volume=reference.volume, orientation=reference.orientation)


def _is_pixel_size_known(radiograph: Radiograph) -> bool:
    return radiograph.spacing_known and radiograph.pixel_mm != UNKNOWN_PIXEL_MM


def _size_text(radiograph: Radiograph) -> str:
    rows, columns = radiograph.array.shape
    return f"{columns} x {rows}"


def _pixel_text(radiograph: Radiograph) -> str:
    width, height = radiograph.pixel_mm
    return f"{width:.3g} x {height:.3g}"
