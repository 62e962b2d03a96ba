"""Images from one grid to another: as the slow way has it, and averaged where slices are thick."""

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from MedLLMSegLib.core.geometry import Grid, centred_grid, inside_mask, voxel_map
from MedLLMSegLib.core.resampling import resample, separable_taps
from Testing.helpers.grids import (
    GRIDS,
    dice,
    finer,
    make_grid,
    positions_in,
    within_faces,
    world_points,
)
from Testing.helpers.random_grids import grids

KINDS = ["f2", "f4", "f8", ">f4", "?", "u1", "i1", "u2", "i2", ">i2", "u4", "i4", "i8"]
PARALLEL = [name for name in GRIDS if not name.startswith("oblique")]
ROUND_OFF = 2e-3  # of a voxel


# ---- the slow way ----


def slow_resample(array, from_grid, to_grid, order, outside=None):
    """SciPy's interpolation of each voxel by itself, in double precision."""
    matrix = voxel_map(from_grid, to_grid)
    return ndimage.affine_transform(
        array.astype(np.float64),
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=to_grid.shape,
        order=order,
        mode="nearest" if outside is None else "constant",
        cval=0.0 if outside is None else outside,
        prefilter=False,
    )


# ---- images at random ----


@st.composite
def images(draw, shape, kinds=KINDS):
    """Noise of any number type, its memory in any order."""
    kind = np.dtype(draw(st.sampled_from(kinds)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    noise = rng.normal(scale=50, size=[2 * n for n in shape])
    noise = noise > 0 if kind.kind == "b" else noise.clip(0 if kind.kind == "u" else -99, 99)
    order = draw(st.permutations(range(3)))
    stored = np.ascontiguousarray(noise.astype(kind).transpose(order)).transpose(np.argsort(order))
    k, j, i = (slice(None, None, draw(st.sampled_from((2, -2)))) for _ in range(3))
    return stored[k, j, i]


@st.composite
def cases(draw, degrees=0, spacing_mm=(0.3, 3.0)):
    """(image, its grid, another grid)."""
    source = draw(grids(degrees, spacing_mm))
    return draw(images(source.shape)), source, draw(grids(degrees, spacing_mm))


def check_as_slow(case, order, outside):
    array, source, target = case
    ours = resample(array, source, target, order, outside, average=False)
    assert ours.shape == target.shape
    assert ours.dtype == (np.float32 if order else array.dtype)
    slow = slow_resample(array, source, target, order, outside)
    turned = separable_taps(source, target) is None
    # SimpleITK interpolates up to the faces; beyond them it has the nearest voxel
    sure = (
        within_faces(source, target) if turned and outside is None else np.full(target.shape, True)
    )
    places = positions_in(source, target)
    for axis, count in enumerate(source.shape):
        place = places[..., axis]
        if outside is not None:  # on the outermost centres: in or out is round-off
            sure &= (np.abs(place) > ROUND_OFF) & (np.abs(place - count + 1) > ROUND_OFF)
        if not order:  # half-way between two voxels
            sure &= np.abs(place - np.floor(place) - 0.5) > ROUND_OFF
    if not order:
        slow = slow.astype(array.dtype)
    assert np.abs(ours.astype(float) - slow)[sure].max(initial=0) <= 100 * 1e-4


@pytest.mark.parametrize("outside", (None, 7.0))
@pytest.mark.parametrize("order", (1, 0))
@given(case=cases())
@settings(max_examples=80, deadline=None)
def test_parallel_grids_are_resampled_as_the_slow_way_has_it(case, order, outside):
    _, source, target = case
    assert separable_taps(source, target) is not None
    check_as_slow(case, order, outside)


@pytest.mark.parametrize("outside", (None, 7.0))
@pytest.mark.parametrize("order", (1, 0))
@given(case=cases(degrees=60))
@settings(max_examples=40, deadline=None)
def test_turned_grids_are_resampled_as_the_slow_way_has_it(case, order, outside):
    check_as_slow(case, order, outside)


def test_turned_grids_of_many_blocks_are_resampled_as_the_slow_way_has_it(monkeypatch):
    monkeypatch.setattr("MedLLMSegLib.core.oblique_resampling._BLOCK_VOXELS", 3000)
    source = GRIDS["oblique, flipped, permuted, anisotropic"]
    target = centred_grid(source.centre_ras(), (25, 20, 22), (3.0, 4.0, 3.5))
    array = np.random.default_rng(0).normal(scale=50, size=source.shape)
    check_as_slow((array, source, target), 1, None)


# ---- averaging ----


def check_averages(case, samples):
    array, source, target = case
    places = slow_resample(array, source, finer(target, samples), 1)
    (k, j, i), (in_k, in_j, in_i) = target.shape, samples
    means = places.reshape(k, in_k, j, in_j, i, in_i).mean((1, 3, 5))
    sure = np.full(target.shape, True)
    if separable_taps(source, target) is None:
        fine = within_faces(source, finer(target, samples))
        sure = fine.reshape(k, in_k, j, in_j, i, in_i).all((1, 3, 5))
    assert np.abs(resample(array, source, target) - means)[sure].max(initial=0) <= 100 * 1e-4


def whole_voxels(span):
    return max(1, int(np.floor(span + 1e-6)))


@given(case=cases(spacing_mm=(0.3, 6.0)))
@settings(max_examples=80, deadline=None)
def test_a_voxel_that_spans_several_is_the_mean_of_samples_within_it(case):
    _, source, target = case
    steps = np.abs(voxel_map(source, target)[:3, :3]).max(axis=0)
    check_averages(case, [whole_voxels(step) for step in steps])


@given(case=cases(degrees=60, spacing_mm=(0.7, 6.0)))
@settings(max_examples=40, deadline=None)
def test_so_is_one_of_a_turned_grid(case):
    _, source, target = case
    steps = np.linalg.norm(voxel_map(source, target)[:3, :3], axis=0)
    check_averages(case, [whole_voxels(step) for step in steps])


def share_within(grid, radii_mm, samples):
    """Of each voxel, the share of its samples that lie within an ellipsoid around the origin."""
    inside = ((world_points(finer(grid, samples)) / radii_mm) ** 2).sum(-1) <= 1
    (k, j, i), (in_k, in_j, in_i) = grid.shape, samples
    return inside.reshape(k, in_k, j, in_j, i, in_i).mean((1, 3, 5))


RADII_MM = np.array([12.0, 16.0, 14.0])


@st.composite
def thick_and_network_grids(draw):
    """(a scan of thick slices, a network's grid of 1 mm), both around the origin."""
    slice_mm, millimetres = draw(st.floats(2.0, 6.0)), st.floats(-3, 3)
    centre_mm = draw(st.lists(millimetres, min_size=3, max_size=3))
    scan = centred_grid(centre_mm, (int(44 / slice_mm), 42, 38), (slice_mm, 1.0, 1.0))
    offset_mm = draw(st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=3))
    return scan, centred_grid(offset_mm, (40, 44, 38), 1.0, mirrored=draw(st.booleans()))


@given(grids=thick_and_network_grids())
@settings(max_examples=20, deadline=None)
def test_a_fine_ellipsoid_on_thick_slices_is_what_fills_half_a_voxel(grids):
    scan, fine = grids
    shape = share_within(fine, RADII_MM, (2, 2, 2))
    truth = share_within(scan, RADII_MM, (12, 2, 2)) > 0.5
    averaged = dice(resample(shape, fine, scan) > 0.5, truth)
    point = dice(resample(shape, fine, scan, average=False) > 0.5, truth)
    assert averaged >= 0.98
    assert averaged >= point - 0.004


@given(grids=thick_and_network_grids())
@settings(max_examples=20, deadline=None)
def test_what_was_found_on_interpolated_thick_slices_comes_back_without_averaging(grids):
    """At a slice's centre a network sees the slice itself, which is a mean already."""
    scan, network = grids
    slices = share_within(scan, RADII_MM, (12, 2, 2))
    found = resample(slices, scan, network)
    point = dice(resample(found, network, scan, average=False) > 0.5, slices > 0.5)
    averaged = dice(resample(found, network, scan) > 0.5, slices > 0.5)
    assert point >= 0.985
    assert point >= averaged - 0.01


# ---- taps ----


@pytest.mark.parametrize("average", (False, True))
@pytest.mark.parametrize("target", ["anisotropic", "0.8 mm", "permuted (1, 2, 0)"])
@pytest.mark.parametrize("source", PARALLEL)
def test_taps_stay_inside_sum_to_one_and_say_where_the_source_ends(source, target, average):
    source, target = GRIDS[source], GRIDS[target]
    found = separable_taps(source, target, average)
    assert sorted(found.source_axes) == [0, 1, 2]
    for axis, taps, length in zip(found.source_axes, found.taps, target.shape, strict=True):
        assert taps.index.shape == taps.weight.shape == (length, taps.weight.shape[1])
        assert taps.index.min() >= 0 and taps.index.max() < source.shape[axis]
        assert np.allclose(taps.weight.sum(1), 1)
    k, j, i = found.inside
    assert np.array_equal(k[:, None, None] & j[:, None] & i, inside_mask(source, target))


def test_equal_grids_need_one_tap_and_tilted_ones_have_none():
    grid = GRIDS["0.8 mm"]
    assert all(taps.weight.shape[1] == 1 for taps in separable_taps(grid, grid).taps)
    assert separable_taps(grid, make_grid(degrees=(0, 0, 0.5))) is None


@pytest.mark.parametrize("name", PARALLEL)
def test_grids_that_differ_by_round_off_are_equal(name):
    grid = GRIDS[name]
    noise = np.random.default_rng(0).normal(scale=1e-8, size=(4, 4))
    array = np.random.default_rng(1).random(grid.shape, np.float32)
    again = Grid(grid.shape, grid.ijk_to_ras + noise * [[1], [1], [1], [0]])
    assert np.array_equal(resample(array, grid, again), array)


def test_axes_with_an_angle_of_round_off_are_parallel():
    grid, tilted = make_grid(), make_grid(degrees=(0, 0, 5e-4))  # 5e-4 voxels over 60
    assert separable_taps(grid, tilted) is not None
    ramp = world_points(grid)[..., 0]
    assert np.abs(resample(ramp, grid, tilted) - slow_resample(ramp, grid, tilted, 1)).max() < 1e-3


# ---- what is read and held ----


@pytest.mark.parametrize("order", (1, 0))
@pytest.mark.parametrize("outside", (None, -1.0))
@pytest.mark.parametrize("target", [make_grid(), make_grid(degrees=(10, 20, 30))])
def test_nothing_gives_nothing(target, outside, order):
    grid = Grid((0, 4, 5), np.eye(4))
    assert (resample(np.zeros(grid.shape), grid, target, order, outside) == (outside or 0)).all()
    assert resample(np.zeros(target.shape), target, grid, order, outside).shape == grid.shape


def test_what_is_not_needed_is_not_read():
    grid = make_grid()
    array = np.full(grid.shape, np.nan, np.float32)
    array[20:30, 10:30, 5:25] = 1
    part = centred_grid(grid.centre_ras() - (13.3, 8.2, 5.6), (6, 7, 9), 0.9)
    assert (resample(array, grid, part) == 1).all()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("target_mm", (0.6, 3.0))
def test_little_is_held_beside_the_result(order, target_mm):
    grid = make_grid(order, field_mm=120.0)
    array = np.zeros(grid.shape, np.int16)
    target = make_grid(spacing=(target_mm,) * 3, field_mm=120.0)
    gc.disable()  # nothing may wait for it
    tracemalloc.start()
    resampled = resample(array, grid, target)
    afterwards, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.enable()
    assert most < resampled.nbytes + 10e6
    assert afterwards < resampled.nbytes + 1e5
