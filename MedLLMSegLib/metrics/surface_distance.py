"""How far apart the surfaces of two masks are, in millimetres.

The surface of a mask is its voxels that have one of their six face neighbours outside it; what lies
beyond the image is outside. A distance runs from the centre of a surface voxel to the centre of the
nearest surface voxel of the other mask, in RAS millimetres, and every surface voxel counts the
same. These are the definitions of MONAI (without sub-voxels), which give the same figures on grids
with right angles (tested).

We search the points themselves with SciPy's k-d tree instead of calling MONAI, because MONAI and
every distance transform know only a spacing: on a sheared grid (a tilted CT gantry) their
millimetres are wrong. The points go through the whole matrix, in double precision, and no torch is
needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from MedLLMSegLib.core.geometry import Grid, transform_points

SLACK_MM = (
    1e-4  # a header's round-off must not push a voxel that is 1 mm away past a tolerance of 1 mm
)


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """to_truth: (n,) mm from each surface voxel of the result; to_result: (m,) mm from each one
    of the truth.
    """

    to_truth: np.ndarray
    to_result: np.ndarray

    def percentile_mm(self, percent: float = 95.0) -> float:
        """Hausdorff distance: the larger one of both directions' percentiles (100: the classic,
        95: HD95).
        """
        return float(
            max(np.percentile(self.to_truth, percent), np.percentile(self.to_result, percent))
        )

    def mean_mm(self) -> float:
        """Average symmetric surface distance (ASSD): the mean over the surface voxels of both
        masks together.
        """
        return float(np.concatenate([self.to_truth, self.to_result]).mean())

    def within(self, tolerance_mm: float) -> float:
        """Normalised surface Dice (NSD): the share of both surfaces that lies within the
        tolerance, 0 to 1.
        """
        return float(
            (np.concatenate([self.to_truth, self.to_result]) <= tolerance_mm + SLACK_MM).mean()
        )


def surface_distances(
    result: np.ndarray, truth: np.ndarray, ijk_to_ras: np.ndarray
) -> SurfaceDistances:
    """Distances between the surfaces of two masks, bool [k, j, i], neither of them empty, on one
    grid (4 x 4, mm).
    """
    if result.shape != truth.shape:
        raise ValueError(f"masks of shapes {result.shape} and {truth.shape} cannot be compared")
    points = [surface_points_ras(mask, ijk_to_ras) for mask in (result, truth)]
    if not all(map(len, points)):
        raise ValueError("an empty mask has no surface to measure from")
    return SurfaceDistances(
        cKDTree(points[1]).query(points[0])[0], cKDTree(points[0]).query(points[1])[0]
    )


def surface_points_ras(mask: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """The centres of the surface voxels of a bool mask [k, j, i] as (n, 3) RAS mm."""
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box:
        return np.empty((0, 3))
    part = mask[box[0]]
    surface = part & ~ndimage.binary_erosion(
        part
    )  # six neighbours; beyond the border counts as outside
    kji = np.argwhere(surface) + [s.start for s in box[0]]
    return transform_points(ijk_to_ras, kji[:, ::-1])


def diagonal_mm(grid: Grid) -> float:
    """The largest distance within a grid, from corner to corner."""
    corners = grid.corners_ras()
    return float(np.linalg.norm(corners[:, None] - corners[None], axis=-1).max())
