"""Whatever way a scan is stored, its ordered array is the same one; and the way back."""

from itertools import permutations, product

import numpy as np
import pytest

from MedLLMSegLib.core.axis_order import AxisOrder
from MedLLMSegLib.core.geometry import Grid, transform_points

ORDERS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def oblique_grid(shape=(3, 4, 5)):
    turn = np.radians(25)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)],
    ] @ np.diag([1.0, 1.5, 2.0])  # fmt: skip
    matrix[:3, 3] = 7, -3, 11
    return Grid(shape, matrix)


@pytest.mark.parametrize("axes, signs", ORDERS)
def test_all_48_ways_become_one(axes, signs):
    grid = oblique_grid()
    array = np.arange(60).reshape(grid.shape)
    stored, there = AxisOrder(axes, signs).ordered(array), AxisOrder(axes, signs).ordered_grid(grid)
    order = AxisOrder.of(there)
    np.testing.assert_array_equal(order.ordered(stored), array)
    np.testing.assert_array_equal(order.stored(order.ordered(stored)), stored)
    back = order.ordered_grid(there)
    assert back.shape == grid.shape
    np.testing.assert_allclose(back.ijk_to_ras, grid.ijk_to_ras, atol=1e-12)
    assert order.changes_nothing == ((axes, signs) == ((0, 1, 2), (1, 1, 1)))


def test_a_voxel_stays_where_it_is_in_the_body():
    grid, order = oblique_grid(), AxisOrder((2, 0, 1), (1, -1, -1))
    array = np.arange(60).reshape(grid.shape)
    moved = order.ordered(array)
    there = order.ordered_grid(grid)
    for value in (0, 17, 59):
        here, new = (np.argwhere(a == value)[0][::-1] for a in (array, moved))
        np.testing.assert_allclose(
            transform_points(grid.ijk_to_ras, here), transform_points(there.ijk_to_ras, new)
        )


def test_channels_stay_in_front():
    maps = np.arange(120).reshape(2, 3, 4, 5)
    order = AxisOrder((1, 2, 0), (-1, 1, -1))
    assert order.ordered(maps).shape == (2, 4, 5, 3)
    np.testing.assert_array_equal(order.stored(order.ordered(maps)), maps)
    np.testing.assert_array_equal(order.ordered(maps)[1], order.ordered(maps[1]))
