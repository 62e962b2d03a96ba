"""Distances between surfaces against a brute-force computation, MONAI and SimpleITK, on awkward
grids.
"""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy import ndimage
from scipy.spatial.transform import Rotation

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.metrics.surface_distance import diagonal_mm, surface_distances, surface_points_ras

SHAPE = (7, 14, 16)


def matrix_of(spacing_kji, turn=(0, 0, 0), shear=0.0):
    """ijk_to_ras with a spacing, turned by Euler angles (degrees), sheared like a tilted gantry,
    away from the origin.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ np.diag(
        spacing_kji[::-1]
    )
    matrix[:3, 2] += shear * matrix[:3, 1]
    matrix[:3, 3] = (-80, 33, 12)
    return matrix


def blobs(seed, shape=SHAPE):
    """Two overlapping masks without any symmetry; the first touches the image's border."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.standard_normal((2, *shape)), (0, 1, 2, 2))
    fields[0, :2, :4, :4] += 1
    masks = [field > np.quantile(field, 0.75) for field in fields]
    return masks[0], masks[1] | (masks[0] & (fields[1] > 0))


def brute_force(result, truth, matrix):
    """HD95, ASSD and NSD at 1 mm from every pair of surface voxels, with loops over neighbours
    instead of erosion.
    """

    def surface(mask):
        points = []
        for k, j, i in np.argwhere(mask):
            for dk, dj, di in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
                at = (k + dk, j + dj, i + di)
                if not all(0 <= a < n for a, n in zip(at, mask.shape, strict=True)) or not mask[at]:
                    points.append(matrix @ (i, j, k, 1))
                    break
        return np.array(points)[:, :3]

    a, b = surface(result), surface(truth)
    apart = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))  # every pair
    there, back = apart.min(1), apart.min(0)
    both = np.concatenate([there, back])
    return (
        max(np.percentile(there, 95), np.percentile(back, 95)),
        both.mean(),
        (both <= 1 + 1e-4).mean(),
    )


GRIDS = {
    "isotropic": matrix_of((1, 1, 1)),
    "thick slices": matrix_of((10, 1.4, 1.4)),
    "all different": matrix_of((3.1, 0.7, 1.9)),
    "oblique": matrix_of((3.1, 0.7, 1.9), turn=(31, -17, 52)),
    "sheared": matrix_of((3, 0.8, 0.8), shear=1.2),
    "flipped": matrix_of((2.5, 1.2, 0.6)) @ np.diag([-1.0, 1, -1, 1]),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_as_brute_force_says(grid, seed):
    result, truth = blobs(seed)
    apart = surface_distances(result, truth, GRIDS[grid])
    assert (apart.percentile_mm(95), apart.mean_mm(), apart.within(1.0)) == pytest.approx(
        brute_force(result, truth, GRIDS[grid]), abs=1e-9
    )


@pytest.mark.parametrize("grid", [g for g in GRIDS if g != "sheared"])
def test_as_monai_says_where_axes_are_at_right_angles(grid):
    result, truth = blobs(2)
    apart = surface_distances(result, truth, GRIDS[grid])
    spacing = Grid(SHAPE, GRIDS[grid]).spacing_mm
    one_hot = [torch.from_numpy(m)[None, None].float() for m in (result, truth)]
    kind = {"include_background": True, "spacing": spacing}
    assert apart.percentile_mm(95) == pytest.approx(
        compute_hausdorff_distance(*one_hot, percentile=95, **kind).item(), rel=1e-5
    )
    assert apart.mean_mm() == pytest.approx(
        compute_average_surface_distance(*one_hot, symmetric=True, **kind).item(), rel=1e-5
    )
    assert apart.within(1.0) == pytest.approx(
        compute_surface_dice(*one_hot, class_thresholds=[1.0001], **kind).item(), rel=1e-5
    )


def test_as_simpleitk_says_of_the_largest_distance():
    """Its Hausdorff filter measures from all voxels, which only makes a difference inside: the
    largest one is the same.
    """
    result, truth = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    result[1:4, 2:9, 3:8], truth[2:6, 5:12, 6:14] = 1, 1
    images = [sitk.GetImageFromArray(m) for m in (result, truth)]
    for image in images:
        image.SetSpacing((1.9, 0.7, 3.1))
    filter = sitk.HausdorffDistanceImageFilter()
    filter.Execute(*images)
    apart = surface_distances(result > 0, truth > 0, GRIDS["oblique"])
    assert apart.percentile_mm(100) == pytest.approx(filter.GetHausdorffDistance(), rel=1e-5)


def test_shear_is_not_lost():
    """One voxel up on a grid tilted by as much as it is high: spacing alone would say the same
    for a straight one.
    """
    result, truth = np.zeros((2, 3, 3), bool), np.zeros((2, 3, 3), bool)
    result[0, 1, 1], truth[1, 0, 1] = True, True
    straight, tilted = (
        matrix_of((3, 1, 1)),
        matrix_of((3, 1, 1), shear=1.0),
    )  # the upper slice is moved by one voxel of j
    assert surface_distances(result, truth, straight).mean_mm() == pytest.approx(np.sqrt(10))
    assert surface_distances(result, truth, tilted).mean_mm() == pytest.approx(3)


def test_the_tolerance_withstands_round_off():
    """1 mm voxels as a NIfTI header keeps them (float32, turned): the one beside is within 1 mm,
    a diagonal one is not.
    """
    lengths = []
    for turn in range(5, 90, 10):
        matrix = matrix_of((1, 1, 1), turn=(12, turn, 71)).astype(np.float32).astype(float)
        for axis in range(3):
            result = np.zeros((5, 5, 5), bool)
            result[2, 2, 2] = True
            truth = np.roll(result, 1, axis)
            apart = surface_distances(result, truth, matrix)
            lengths.append(apart.mean_mm())
            assert apart.within(1.0) == 1
            assert (
                surface_distances(result, np.roll(truth, 1, (axis + 1) % 3), matrix).within(1.0)
                == 0
            )
    assert max(lengths) > 1  # else nothing was tested


def test_the_surface_of_a_cube_has_a_hollow():
    mask = np.zeros((5, 5, 5), bool)
    mask[:3, 1:4, 1:4] = True  # touches the border, beyond which it is not
    points = surface_points_ras(mask, np.eye(4))
    assert len(points) == 26
    assert [2, 2, 1] not in points.tolist()
    assert surface_points_ras(np.zeros((2, 2, 2), bool), np.eye(4)).shape == (0, 3)


def test_no_distance_exceeds_the_diagonal():
    for matrix in GRIDS.values():
        grid = Grid(SHAPE, matrix)
        ends = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
        ends[0][0, 0, 0], ends[1][-1, -1, -1] = True, True
        assert surface_distances(*ends, matrix).mean_mm() < diagonal_mm(grid)
    assert diagonal_mm(Grid((3, 4, 5), matrix_of((10, 2, 1), turn=(9, 8, 7)))) == pytest.approx(
        np.sqrt(30**2 + 8**2 + 5**2)
    )


def test_what_cannot_be_measured_is_an_error():
    mask = np.ones((2, 2, 2), bool)
    with pytest.raises(ValueError, match="empty"):
        surface_distances(mask, ~mask, np.eye(4))
    with pytest.raises(ValueError, match="shapes"):
        surface_distances(mask, mask[:1], np.eye(4))
