"""What lies where in space still lies there after every change of grid and the way back."""

import numpy as np
import pytest

from MedLLMSegLib.core.geometry import (
    Grid,
    aligned_grid,
    centred_grid,
    covering_grid,
    inside_mask,
    overlap_box,
    regridded,
    square_around,
    sub_grid,
    transform_points,
)
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.segmentation.prepare import Restore, normalise, prepare, whole_grid
from MedLLMSegLib.segmentation.restore import restore
from Testing.helpers.grids import GRIDS, centroid_ras, dice, ellipsoid, make_grid, world_points


@pytest.mark.parametrize("mirrored", (False, True))
@pytest.mark.parametrize("name", GRIDS)
def test_a_shape_comes_back_where_it_was(name, mirrored):
    grid = GRIDS[name]
    shape = ellipsoid(grid)
    volume = Volume(shape.astype(np.float32), grid.ijk_to_ras)
    crop = whole_grid(volume, 1.0, mirrored=mirrored)
    seen = resample(volume.array, grid, crop)
    back, box = restore(np.stack([1 - seen, seen]), Restore(grid, crop))
    found = np.zeros(grid.shape, bool)
    found[box] = back[1] > 0.5
    assert dice(found, shape) > (0.90 if max(grid.spacing_mm) > 2 else 0.97)
    shift_mm = np.linalg.norm(centroid_ras(found, grid) - centroid_ras(shape, grid))
    assert shift_mm < 0.3


def full_crop(crop):
    """Background and one structure that fills a crop: [2, k, j, i]."""
    return np.stack([np.zeros(crop.shape), np.ones(crop.shape)])


@pytest.mark.parametrize("name", [n for n in GRIDS if n.startswith(("permuted", "flipped"))])
def test_at_the_network_spacing_not_a_voxel_changes(name):
    grid = GRIDS[name]
    values = np.random.default_rng(0).integers(0, 1000, grid.shape).astype(np.int16)
    crop = whole_grid(Volume(values, grid.ijk_to_ras), 1.0)
    on_crop = resample(values, grid, crop)
    back, box = restore(np.stack([on_crop, on_crop]), Restore(grid, crop))
    assert np.array_equal(np.rint(back[1]), values)
    assert tuple(s.stop - s.start for s in box) == grid.shape


@pytest.mark.parametrize("name", GRIDS)
def test_what_fills_the_scan_comes_back_to_its_outermost_voxels(name):
    grid = GRIDS[name]
    crop = whole_grid(Volume(np.ones(grid.shape), grid.ijk_to_ras), 1.0)
    back, _ = restore(full_crop(crop), Restore(grid, crop))
    assert back[1].shape == grid.shape
    assert back[1].min() > 0.999


def test_beyond_the_crop_is_background():
    grid = make_grid()
    crop = centred_grid((7.0, -21.0, 33.0), (10, 20, 14), 1.0)
    back, _ = restore(full_crop(crop), Restore(grid, crop))
    assert back[1].sum() == 10 * 20 * 14
    assert np.allclose(back.sum(0), 1)


def test_the_crop_lies_along_ras_and_mirroring_turns_left_into_right():
    grid = make_grid((1, 2, 0), (-1, -1, 1))
    right = ellipsoid(grid, centre=(20, -21, 33), radii=(5, 5, 5))  # right of the field's middle
    for mirrored in (False, True):
        crop = covering_grid(grid, 1.0, mirrored)
        on_crop = resample(right.astype(float), grid, crop) > 0.5
        i = np.argwhere(on_crop)[:, 2].mean()
        assert (i > crop.shape[2] / 2) == (not mirrored)


def test_a_crop_reads_the_same_from_a_box_as_from_the_whole():
    grid = GRIDS["oblique, flipped, permuted, anisotropic"]
    values = np.random.default_rng(1).normal(size=grid.shape).astype(np.float32)
    crop = centred_grid((8.0, -20.0, 34.0), (16, 20, 18), 1.0)
    from_box, _ = prepare(Volume(values, grid.ijk_to_ras), crop)
    from_whole = normalise(resample(values, grid, crop))
    assert np.allclose(from_box, from_whole, atol=1e-4)


def test_coarser_grids_average_instead_of_picking():
    grid = make_grid(spacing=(0.5, 0.5, 0.5))
    stripes = np.indices(grid.shape).sum(0) % 2 * 100.0  # finer than the target can show
    coarse = resample(stripes, grid, covering_grid(grid, 2.0))
    inner = coarse[2:-2, 2:-2, 2:-2]
    assert np.abs(inner - 50).max() < 1


def test_averaging_keeps_places():
    grid = make_grid(spacing=(0.5, 0.5, 0.5))
    world_x = world_points(grid)[..., 0]
    target = covering_grid(grid, 2.0)
    seen = resample(world_x, grid, target)
    i = np.arange(target.shape[2])
    expected = target.ijk_to_ras[0, 0] * i + target.ijk_to_ras[0, 3]
    assert np.abs(seen[15, 15, 1:-1] - expected[1:-1]).max() < 1e-3


def test_boxes_and_sub_grids_agree():
    grid = GRIDS["oblique"]
    crop = centred_grid(grid.centre_ras() + 5, (10, 12, 14), 1.0)
    box = overlap_box(grid, crop)
    sub = sub_grid(grid, box)
    first_voxel = [s.start for s in box[::-1]]
    expected = transform_points(grid.ijk_to_ras, first_voxel)
    assert np.allclose(transform_points(sub.ijk_to_ras, (0, 0, 0)), expected)
    assert sub.shape == tuple(s.stop - s.start for s in box)


def test_a_crop_far_outside_touches_nothing():
    grid = make_grid()
    box = overlap_box(grid, centred_grid((900, 900, 900), (10, 10, 10), 1.0))
    assert any(s.start == s.stop for s in box)


def thick_slices():
    """Slices 10 mm apart, 1.5 mm in the plane, tilted as a short-axis view of the heart is."""
    turn = np.array([[0.6, -0.48, 0.64], [0.8, 0.36, -0.48], [0.0, 0.8, 0.6]])  # a rotation
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array([1.5, 1.5, 10.0])
    matrix[:3, 3] = (12, -30, 44)
    return Grid((7, 40, 32), matrix)


def sorted_corners(grid):
    corners = grid.corners_ras().round(6)
    return np.array(sorted(map(tuple, corners)))


def test_a_grid_along_the_scans_own_axes_is_the_scans_grid_at_its_own_spacing():
    scan = thick_slices()
    grid = aligned_grid(scan, scan.spacing_mm)
    assert sorted_corners(grid) == pytest.approx(sorted_corners(scan))
    assert grid.shape[0] == 7
    assert np.allclose(grid.spacing_mm, (10, 1.5, 1.5))


@pytest.mark.parametrize(
    "order, flipped", [((0, 1, 2), (0,)), ((2, 0, 1), ()), ((1, 2, 0), (0, 2)), ((1, 0, 2), (1,))]
)
def test_the_same_scan_stored_in_another_order_gets_the_same_grid(order, flipped):
    scan = thick_slices()
    matrix = scan.ijk_to_ras.copy()
    matrix[:3, :3] = scan.ijk_to_ras[:3, order]
    shape_ijk = np.array(scan.shape[::-1])[list(order)]
    for axis in flipped:
        matrix[:3, 3] += matrix[:3, axis] * (shape_ijk[axis] - 1)
        matrix[:3, axis] *= -1
    again = aligned_grid(Grid(tuple(int(n) for n in shape_ijk[::-1]), matrix), (10, 2, 2))
    first = aligned_grid(scan, (10, 2, 2))
    assert again.shape == first.shape
    assert np.allclose(again.ijk_to_ras, first.ijk_to_ras)


def test_a_grid_with_a_spacing_for_each_axis_covers_the_scan():
    grid = covering_grid(thick_slices(), (4, 2, 1))
    assert np.allclose(grid.spacing_mm, (4, 2, 1))
    own, scan = grid.corners_ras(), thick_slices().corners_ras()
    assert (own.min(0) <= scan.min(0) + 1e-2).all()
    assert (own.max(0) >= scan.max(0) - 1e-2).all()


@pytest.mark.parametrize("rows, columns", [(7, 9), (240, 11), (1, 1)])
@pytest.mark.parametrize("name", GRIDS)
def test_other_rows_and_columns_fill_the_same_place_and_come_back(name, rows, columns):
    grid = GRIDS[name]
    other = regridded(grid, rows, columns)
    assert other.shape == (grid.shape[0], rows, columns)
    assert np.allclose(other.corners_ras(), grid.corners_ras())
    back = regridded(other, *grid.shape[1:])
    assert back.shape == grid.shape
    assert np.allclose(back.ijk_to_ras, grid.ijk_to_ras)


@pytest.mark.parametrize("wide", (True, False))
@pytest.mark.parametrize("name", GRIDS)
def test_a_slices_square_is_filled_by_its_longer_side(name, wide):
    whole = GRIDS[name]
    _, rows, columns = (slice(0, n) for n in whole.shape)
    if wide:
        rows = slice(0, rows.stop // 3)
    else:
        columns = slice(0, columns.stop // 3)
    part = sub_grid(whole, (slice(2, 3), rows, columns))
    square = square_around(part, 24)
    assert square.shape == (1, 24, 24)
    assert np.allclose(square.centre_ras(), part.centre_ras())
    slice_mm, side_mm = part.extent_mm[0], max(part.extent_mm)
    assert np.allclose(square.extent_mm, (slice_mm, side_mm, side_mm))
    assert inside_mask(square, part).all()  # in the slice's plane, and wide enough for all of it
    assert np.allclose(square.directions, part.directions)
