"""The scans that nodules are inserted into, and the networks' grid of 2 mm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume

from .density import Density, measure_density, measure_point_spread
from .lungs import find_lungs
from .shapes import HELD_BACK

# CC BY; LUNG1-001 is CC BY-NC and no part of this study.
SCANS = ("LIDC-IDRI-0001", "LIDC-IDRI-0314", "Lung_Dx-A0001", "Lung_Dx-A0002")
WORKING_MM = 2.0  # of the networks' grid, and of the scans in the slice
LEFT_OUT_MM = 8.0  # around a real nodule or tumour nothing is inserted, learnt or counted


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan on its own grid.

    lungs, real, left_out: bool [k, j, i]; real: the readers' nodule, or the boxes of a tumour.
    density: of the real nodule, None where there are boxes. blur_mm: SD of the point spread in the
    slice.
    """

    name: str
    hu: Array
    spacing_mm: tuple[float, float, float]
    lungs: Array
    real: Array
    left_out: Array
    blur_mm: float
    density: Density | None


def read_scan(folder: Path, name: str) -> Scan:
    """A scan of lung_ct with its lungs, and what is measured in it. Raises `UserError`."""
    files = [folder / part / f"{name}.nii.gz" for part in ("whole", "whole_labels")]
    if not all(file.is_file() for file in files):
        raise UserError(f'"{folder}" has no scan {name}; give the data folder with lung_ct.')
    volume, labels = (load_volume(file) for file in files)
    return made_scan(name, volume, labels.array > 0, nodule=name in HELD_BACK)


def made_scan(name: str, volume: Volume, real: Array, nodule: bool) -> Scan:
    """A `Scan` from a CT and the outline of what is real in it; nodule: whether its density can be
    measured. Raises `UserError` for a scan that is no chest CT, or not 2 mm in the slice.
    """
    lungs, spacing = find_lungs(volume), volume.spacing_mm
    if max(abs(step - WORKING_MM) for step in spacing[1:]) > 0.01:
        raise UserError(
            f'"{name}" has voxels of {spacing[2]:g} x {spacing[1]:g} mm in the slice, and'
            f" {WORKING_MM:g} mm are needed; resample it first."
        )
    near = (
        ndimage.distance_transform_edt(~real, spacing)
        if real.any()
        else np.full(real.shape, np.inf)
    )
    return Scan(
        name,
        volume.array.astype(np.int16),
        spacing,
        lungs,
        real,
        near <= LEFT_OUT_MM,
        measure_point_spread(volume),
        measure_density(volume.array, real, spacing) if nodule else None,
    )


def working_slices(count: int, spacing_k_mm: float) -> Array:
    """Where the planes of the working grid lie, in slices of the scan."""
    last = int(np.floor((count - 1) * spacing_k_mm / WORKING_MM + 1e-6))
    places: Array = np.arange(last + 1) * WORKING_MM / spacing_k_mm
    return places


def to_working(array: Array, spacing_k_mm: float) -> Array:
    """[k, j, i] at the scan's slices -> float32 [k', j, i] at 2 mm, linearly along k."""
    places = working_slices(len(array), spacing_k_mm)
    low = np.minimum(places.astype(int), len(array) - 1)
    high = np.minimum(low + 1, len(array) - 1)
    share = (places - low).astype(np.float32)[:, None, None]
    working: Array = array[low] * (1 - share) + array[high] * share
    return working.astype(np.float32)
