"""Sizes, places and neighbours of structures, whatever the scan's axes."""

import math

import numpy as np
import pytest

from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.label_shape import label_shapes


def ellipsoid(shape, spacing_kji, radii_mm, centre_mm):
    axes = np.ix_(*(np.arange(n) * s for n, s in zip(shape, spacing_kji, strict=True)))
    parts = zip(axes, centre_mm, radii_mm, strict=True)
    return sum(((axis - c) / r) ** 2 for axis, c, r in parts) <= 1


def turned(spacing_kji, degrees=30.0):
    """ijk_to_ras of a flipped grid that is turned about k."""
    a = math.radians(degrees)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(
        [[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, -1]]
    ) @ np.diag(spacing_kji[::-1])
    matrix[:3, 3] = (5, -7, 9)
    return matrix


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.5)])
def test_an_ellipsoid_has_its_lengths_and_its_volume_in_any_grid(spacing):
    shape = tuple(round(60 / s) for s in spacing)
    mask = ellipsoid(shape, spacing, (20, 12, 8), (30, 30, 30))
    for matrix in (np.diag([*spacing[::-1], 1.0]), turned(spacing)):
        found = label_shapes(Volume(mask.astype(np.uint8), matrix))[1]
        assert found.lengths_mm == pytest.approx((40, 24, 16), rel=0.04)
        assert found.volume_ml == pytest.approx(4 / 3 * math.pi * 20 * 12 * 8 / 1000, rel=0.03)
        centre = matrix @ [30 / spacing[2], 30 / spacing[1], 30 / spacing[0], 1]
        assert found.centre_ras == pytest.approx(centre[:3], abs=0.8)
        assert found.largest_share == 1
        assert found.border_share == 0


def test_surfaces_are_shared_with_neighbours_by_area():
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[2:6, 5:10, 5:10] = 1  # 4 x 5 x 5 voxels, of 2 x 1 x 1 mm
    labels[2:6, 10:15, 5:10] = 2  # behind it along j
    found = label_shapes(Volume(labels, np.diag([1.0, 1.0, 2.0, 1.0])))
    side_mm2, top_mm2 = 4 * 2 * 5, 25
    assert found[1].surface_mm2 == pytest.approx(4 * side_mm2 + 2 * top_mm2)
    assert found[1].touches == {2: pytest.approx(side_mm2 / (4 * side_mm2 + 2 * top_mm2))}
    assert found[2].touches == {1: pytest.approx(found[1].touches[2])}
    assert found[1].roughness > 1


def test_stray_parts_and_the_edge_of_the_scan_are_seen():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[3:5, 3:5, 3:5] = 7
    labels[0, 0, 0] = labels[7, 7, 7] = 7
    found = label_shapes(Volume(labels, np.eye(4)))[7]
    assert found.largest_share == pytest.approx(8 / 10)
    assert found.border_share == pytest.approx(2 / 10)


def test_nothing_has_no_shape():
    assert label_shapes(Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4))) == {}
