"""Reading the label map of a case as whole numbers on its image's grid."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume

from .case import Case, CaseSet
from .reference_labels import is_segmentation, read_segmentation

_WHOLE_TOLERANCE = 1e-3  # what a file's scaling (NIfTI's slope) adds to a whole number
# How far a label map's corner may lie from the image's, as a share of the smallest voxel edge.
_PLACE_TOLERANCE = 0.05


def read_labels(path: Path, image: Volume) -> Array:
    """A label map as integers [k, j, i]; `UserError` unless it lies on the image's grid."""
    labels = load_volume(path)
    if labels.array.shape != image.grid.shape:  # whatever channels the image has
        shapes = (labels.array.shape, image.array.shape)
        sizes = [" x ".join(map(str, shape[::-1])) for shape in shapes]
        raise UserError(
            f'The label map "{path}" has {sizes[0]} voxels and its image {sizes[1]}; '
            "both must lie on the same grid."
        )
    distance_mm = min(
        float(np.abs(one.corners_ras() - other.corners_ras()).max())
        for one, other in product(_stated_grids(labels), _stated_grids(image))
    )
    if not distance_mm <= _PLACE_TOLERANCE * min(image.spacing_mm):
        raise UserError(
            f'The label map "{path}" is shifted by up to {distance_mm:.3g} mm from its image; '
            "both must lie on the same grid."
        )
    return whole_numbers(labels.array, path)


def _stated_grids(volume: Volume) -> list[Grid]:
    """Where a volume lies, and where other programs see it: a NIfTI file can state two positions,
    of which 3D Slicer takes one for the image and the other for the label map.
    """
    grids = [volume.grid]
    if volume.forms is not None and volume.forms.other_ijk_to_ras is not None:
        grids.append(Grid(volume.grid.shape, volume.forms.other_ijk_to_ras))
    return grids


def whole_numbers(array: Array, path: Path) -> Array:
    """The array as int64; `UserError` if it holds anything but whole numbers."""
    with np.errstate(invalid="ignore"):  # NaN becomes some number, and so differs
        whole = np.rint(array).astype(np.int64)
    if not (np.abs(whole - array) <= _WHOLE_TOLERANCE).all():
        raise UserError(
            f'The label map "{path}" holds values that are not whole numbers; '
            "save it again without interpolation."
        )
    return whole


def read_label_map(case: Case, case_set: CaseSet, image: Volume) -> Array:
    """The labels of a case as uint8 [k, j, i] on its image's grid, with ``case_set``'s values.

    image: the case's own image. Segments of a .seg.nrrd are identified by their names. Raises
    `UserError` for labels off the image's grid, values that are not whole numbers, a value or
    segment that is no structure, and segments that overlap.
    """
    if is_segmentation(case.label):
        return read_segmentation(case.label, case_set.labels, image)
    labels = read_labels(case.label, image)
    unknown = sorted(set(np.unique(labels).tolist()) - {0, *case_set.labels})
    if unknown:
        known = ", ".join(f"{value} {name}" for value, name in case_set.labels.items())
        raise UserError(
            f'The label map of case "{case.id}" has the value {unknown[0]}, which no structure has'
            f" (known: {known}); correct the label map, or add the structure to the names."
        )
    return labels.astype(np.uint8)
