"""A region of interest: a box in space outside of which nothing is looked for.

The scan is cropped to it before anything else, and the result is put back on the grid of the whole
scan. A box that is turned against the scan's axes counts with the box around it along them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import ROUND_OFF_VOX, Box, Grid, sub_grid, transform_points
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

from .result_grid import on_grid

FACES = "L P I R A S"
NEAR_FACE_MM = 2.0  # an outline that ends so near a face was most likely cut off there
_PAIRS = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))


@dataclass(frozen=True)
class Region:
    """A box in space. corners_ras: its eight corners, RAS mm."""

    corners_ras: tuple[tuple[float, float, float], ...]

    @classmethod
    def from_faces(cls, faces: Sequence[float]) -> Region:
        """The box along the axes of the body between six faces.

        faces: where its left, posterior, inferior, right, anterior and superior faces lie, in RAS
        mm: to the right, the front and up the numbers grow. Raises `UserError`.
        """
        if len(faces) != 6 or not np.isfinite(faces).all():
            raise UserError(f"A region needs six numbers ({FACES}, in RAS mm), not {faces}.")
        for axis, (low, high) in enumerate(_PAIRS):
            if not faces[axis] < faces[axis + 3]:
                raise UserError(
                    f"The region's {low} face lies at {faces[axis]:g} mm and its {high} one at"
                    f" {faces[axis + 3]:g} mm; in RAS mm the {high} one has the larger number"
                    f" (give {FACES})."
                )
        ranges = zip(faces[:3], faces[3:], strict=True)
        return cls(tuple((float(x), float(y), float(z)) for x, y, z in product(*ranges)))

    @property
    def faces(self) -> tuple[float, ...]:
        """Of the box around it along the axes of the body, as for `from_faces`."""
        corners = np.array(self.corners_ras)
        return tuple(float(mm) for mm in (*corners.min(0), *corners.max(0)))

    def box_on(self, grid: Grid) -> Box:
        """The half-open box [k, j, i] of all voxels of a grid that it touches; it may be empty."""
        corners_ijk = transform_points(np.linalg.inv(grid.ijk_to_ras), self.corners_ras)
        # A voxel reaches half its size to either side of its centre.
        low = np.floor(corners_ijk.min(0) + 0.5 + ROUND_OFF_VOX).astype(int)
        high = np.ceil(corners_ijk.max(0) + 0.5 - ROUND_OFF_VOX).astype(int)
        low = np.clip(low, 0, grid.shape[::-1])
        high = np.clip(high, low, grid.shape[::-1])
        i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return k, j, i


@contextmanager
def region_named_in_errors(region: Region | None) -> Iterator[None]:
    """A `UserError` of a search inside a region says that there was one; None changes nothing."""
    try:
        yield
    except UserError as error:
        if region is None:
            raise
        raise UserError(
            f"{error} Only the region was searched: make it larger, or leave it out."
        ) from error


def box_in(volume: Volume, region: Region) -> Box:
    """The voxels [k, j, i] of a scan inside a region.

    Raises `UserError` where less than two along an axis are inside.
    """
    box = region.box_on(volume.grid)
    if min(part.stop - part.start for part in box) < 2:
        faces = " ".join(str(round(mm)) for mm in region.faces)
        raise UserError(
            f'The region ({FACES}: {faces} mm) holds nothing of "{volume.name}"; move it onto the'
            " scan, or leave it out."
        )
    return box


def cropped(volume: Volume, region: Region) -> Volume:
    """The part of a scan [..., k, j, i] inside a region. Raises `UserError` as `box_in`."""
    box = box_in(volume, region)
    grid = sub_grid(volume.grid, box)
    return replace(
        volume,
        array=np.ascontiguousarray(volume.array[(..., *box)]),
        ijk_to_ras=grid.ijk_to_ras,
        forms=None,
    )


def not_whole(result: Segmentation, region: Region, grid: Grid) -> frozenset[int]:
    """The labels of a cropped scan's structures that a region may not hold whole: those that end at
    a face of it, and those that were not found. None where the region holds the whole scan.

    result: on the part inside the region of ``grid``.
    """
    array, faces = result.labels.array, []
    for axis, (part, size) in enumerate(zip(region.box_on(grid), grid.shape, strict=True)):
        planes = max(1, int(NEAR_FACE_MM // grid.spacing_mm[axis]))
        along = np.moveaxis(array, axis, 0)
        faces += [along[:planes]] if part.start > 0 else []
        faces += [along[-planes:]] if part.stop < size else []
    if not faces:
        return frozenset()
    missing = {s.label for s in result.structures} - set(np.unique(array).tolist())
    cut_off = {label for face in faces for label in np.unique(face).tolist() if label}
    return frozenset(missing | cut_off)


def on_whole(
    result: Segmentation, volume: Volume, region: Region, grid: Grid | None = None
) -> Segmentation:
    """The result of a cropped scan on the grid of the whole one, with nothing outside the region,
    and a note on how much of the scan was searched.

    result: on the part inside the region of ``grid``. grid: of the result; None for the scan's own.
    """
    grid = grid or volume.grid
    box = region.box_on(grid)

    def whole(part: Volume | None) -> Volume | None:
        if part is None:
            return None
        return on_grid(volume, grid, _filled(part.array, grid, box), part.name)

    searched = sub_grid(volume.grid, region.box_on(volume.grid))
    sizes = [" x ".join(map(str, each.shape[::-1])) for each in (searched, volume.grid)]
    note = f"Only the region was searched: {sizes[0]} of {sizes[1]} voxels."
    return replace(
        result,
        labels=on_grid(volume, grid, _filled(result.labels.array, grid, box)),
        notes=(note, *result.notes),
        probabilities=whole(result.probabilities),
        uncertainty=whole(result.uncertainty),
    )


def _filled(part: Array, grid: Grid, box: Box) -> Array:
    """An array [..., k, j, i] of zeros with a part filled in."""
    array = np.zeros((*part.shape[:-3], *grid.shape), part.dtype)
    array[(..., *box)] = part
    return array
