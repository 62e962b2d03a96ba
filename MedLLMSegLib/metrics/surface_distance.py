"""How far apart the surfaces of two masks are, in millimetres.

The surface of a mask is its voxels that have one of their six face neighbours outside it; what lies
beyond the image is outside. A distance runs from the centre of a surface voxel to the centre of the
nearest surface voxel of the other mask, in RAS millimetres, and every surface voxel counts the
same. These are the definitions of MONAI (without sub-voxels), which give the same figures on grids
with right angles (tested).

The points themselves are searched with SciPy's k-d tree. MONAI and every distance transform know
only a spacing, so that their millimetres are wrong on a sheared grid (a tilted CT gantry). Here the
points go through the whole matrix, in double precision, and no torch is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from MedLLMSegLib.core.geometry import Grid, transform_points
from MedLLMSegLib.core.types import Array

# A header's round-off must not push a voxel that is 1 mm away past a tolerance of 1 mm.
SLACK_MM = 1e-4


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances between the surfaces of a result and a truth.

    to_truth: (n,) mm from each surface voxel of the result to the truth. to_result: (m,) mm from
    each surface voxel of the truth to the result.
    """

    to_truth: Array
    to_result: Array

    def percentile_mm(self, percent: float = 95.0) -> float:
        """Hausdorff distance: the larger of both directions' percentiles (95: HD95)."""
        to_truth = np.percentile(self.to_truth, percent)
        return float(max(to_truth, np.percentile(self.to_result, percent)))

    def mean_mm(self) -> float:
        """Average symmetric surface distance (ASSD): the mean over both masks' surface voxels."""
        return float(self._of_both().mean())

    def within(self, tolerance_mm: float) -> float:
        """Normalised surface Dice (NSD), 0 to 1: the share of both surfaces within a tolerance."""
        return float((self._of_both() <= tolerance_mm + SLACK_MM).mean())

    def _of_both(self) -> Array:
        return np.concatenate([self.to_truth, self.to_result])  # (n + m,)


def surface_distances(result: Array, truth: Array, ijk_to_ras: Array) -> SurfaceDistances:
    """Distances between the surfaces of two masks, bool [k, j, i], on one grid (4 x 4, mm).

    Raises `ValueError` where one of them is empty.
    """
    if result.shape != truth.shape:
        raise ValueError(f"masks of shapes {result.shape} and {truth.shape} cannot be compared")
    result_points = surface_points_ras(result, ijk_to_ras)
    truth_points = surface_points_ras(truth, ijk_to_ras)
    if not len(result_points) or not len(truth_points):
        raise ValueError("an empty mask has no surface to measure from")
    to_truth, _ = cKDTree(truth_points).query(result_points)
    to_result, _ = cKDTree(result_points).query(truth_points)
    return SurfaceDistances(to_truth, to_result)


def surface_points_ras(mask: Array, ijk_to_ras: Array) -> Array:
    """The centres of the surface voxels of a bool mask [k, j, i] as (n, 3) RAS mm."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return np.empty((0, 3))
    box = boxes[0]
    cropped = mask[box]
    # Six neighbours; what lies beyond the border counts as outside.
    surface = cropped & ~ndimage.binary_erosion(cropped)
    kji = np.argwhere(surface) + [axis.start for axis in box]
    return transform_points(ijk_to_ras, kji[:, ::-1])


def diagonal_mm(grid: Grid) -> float:
    """The largest distance within a grid, from corner to corner."""
    corners = grid.corners_ras()
    return float(np.linalg.norm(corners[:, None] - corners[None], axis=-1).max())
