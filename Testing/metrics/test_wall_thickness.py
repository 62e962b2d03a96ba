"""Phantoms of a left ventricle whose wall is known in each segment."""

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.metrics.wall_thickness import SEGMENTS, HeartLabels, wall_thickness_mm

# In the patient (RAS): from apex to base, to the septum, and to the anterior wall
BASE = np.array([1.0, -1.0, 1.0]) / np.sqrt(3)
SEPTUM = np.array([1.0, 1.0, 0.0]) / np.sqrt(2)
ANTERIOR = np.cross(BASE, SEPTUM)


def phantom(spacing=(10.0, 1.5, 1.5), slices=9, flips=(), order=(0, 1, 2), wall_mm=None, turn=0.0):
    """(labels, grid): a tapering tube with a crescent beside it, sampled on short-axis slices.

    wall_mm: angle in degrees from the septum towards the anterior wall -> thickness. flips, order:
    of the array's axes. turn: degrees by which the picture is turned within its plane.
    """
    thickness = wall_mm or (lambda angle, depth: np.full_like(angle, 10.0))
    cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    rows, cols = cos * SEPTUM + sin * ANTERIOR, -sin * SEPTUM + cos * ANTERIOR
    n = round(120 / spacing[1])
    axes = [-BASE * spacing[0], rows * spacing[1], cols * spacing[2]]  # of (k, j, i), base first
    shape = (slices, n, n)
    k, j, i = np.indices(shape)
    middle = (np.array(shape) - 1) / 2
    points = sum(
        (index - centre)[..., None] * axis
        for index, centre, axis in zip((k, j, i), middle, axes, strict=True)
    )
    x, y = points @ SEPTUM, points @ ANTERIOR
    depth = k / max(slices - 1, 1)  # 0 base, 1 apex
    radius, angle = np.hypot(x, y), np.rad2deg(np.arctan2(y, x)) % 360
    inner = 24 - 8 * depth
    outer = inner + thickness(angle, depth)
    labels = np.zeros(shape, np.uint8)
    right = np.hypot(x - 22, y) < 32 - 12 * depth
    labels[right & (x > 0)] = 1
    labels[radius < outer] = 2
    labels[radius < inner] = 3
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(axes[::-1], axis=1)
    matrix[:3, 3] = -(matrix[:3, :3] @ middle[::-1])
    for axis in flips:
        labels = np.flip(labels, axis)
        column = 2 - axis
        matrix[:3, 3] += matrix[:3, column] * (shape[axis] - 1)
        matrix[:3, column] *= -1
    labels = np.ascontiguousarray(np.transpose(labels, order))
    matrix[:3, :3] = matrix[:3, :3][:, [2 - order[2 - c] for c in range(3)]]
    return labels, Grid(labels.shape, matrix)


def test_an_even_wall_is_even():
    found = wall_thickness_mm(*phantom())
    assert np.nanmax(np.abs(found[:16] - 10)) < 0.6
    assert np.isnan(found[16])  # slices of 10 mm say nothing of the apex


SIX = [2, 1, 6, 5, 4, 3]  # segments from the septum's middle towards the anterior wall


@pytest.mark.parametrize("thick", range(6))
@pytest.mark.parametrize(
    ("flips", "order"),
    [((), (0, 1, 2)), ((0,), (0, 1, 2)), ((1,), (0, 2, 1)), ((0, 2), (2, 0, 1)), ((2,), (1, 2, 0))],
)
def test_a_thick_wall_is_found_in_its_segment_however_the_slices_lie(thick, flips, order):
    def wall(angle, depth):
        within = (angle > 60 * thick + 4) & (angle < 60 * thick + 56)
        return np.where(within, 15.0, 8.0)

    found = wall_thickness_mm(*phantom(flips=flips, order=order, wall_mm=wall, turn=40.0))
    assert SEGMENTS[int(np.argmax(found[:6]))] == SEGMENTS[SIX[thick] - 1]
    assert SEGMENTS[6 + int(np.argmax(found[6:12]))] == SEGMENTS[5 + SIX[thick]]
    assert found[SIX[thick] - 1] > 13
    assert np.median(found[:12]) == pytest.approx(8, abs=1)


@pytest.mark.parametrize(("angle_at", "segment"), [(0, 14), (90, 13), (180, 16), (270, 15)])
def test_the_four_segments_near_the_apex(angle_at, segment):
    def wall(angle, depth):
        off = np.abs((angle - angle_at + 180) % 360 - 180)
        return np.where((off < 40) & (depth > 0.6), 14.0, 8.0)

    found = wall_thickness_mm(*phantom(wall_mm=wall))
    assert 13 + int(np.argmax(found[12:16])) == segment
    assert np.nanmax(found[:6]) < 9.5


def test_base_middle_and_apex_are_thirds():
    found = wall_thickness_mm(*phantom(wall_mm=lambda angle, depth: 12 - 6 * depth + 0 * angle))
    assert found[:6].mean() > found[6:12].mean() + 1 > found[12:16].mean() + 2


def test_the_apex_is_measured_in_thin_slices():
    labels, grid = phantom(spacing=(2.0, 1.5, 1.5), slices=40)
    labels[34:38][labels[34:38] == 3] = 2  # four slices of wall below the cavity
    labels[38:] = 0
    found = wall_thickness_mm(labels, grid)
    assert found[16] == pytest.approx(8)


def test_what_has_no_ring_or_no_right_ventricle_is_refused():
    labels, grid = phantom()
    with pytest.raises(UserError, match="right ventricle"):
        wall_thickness_mm(np.where(labels == 1, 0, labels).astype(np.uint8), grid)
    open_wall = labels.copy()
    open_wall[:, :, :40][open_wall[:, :, :40] == 2] = 0
    with pytest.raises(UserError, match="ring in 0 slices"):
        wall_thickness_mm(open_wall, grid)
    with pytest.raises(UserError, match="0 slices"):
        wall_thickness_mm(np.zeros_like(labels), grid)


def test_other_numbers_of_the_labels():
    labels, grid = phantom()
    table = np.array([0, 7, 5, 9], np.uint8)
    found = wall_thickness_mm(table[labels], grid, HeartLabels(7, 5, 9))
    assert np.nanmax(np.abs(found[:16] - 10)) < 0.6
