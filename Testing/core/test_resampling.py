"""Images from one grid to another: as the slow way has it, and averaged where slices are thick."""

import numpy as np
import pytest

from MedLLMSegLib.core.geometry import inside_mask
from MedLLMSegLib.core.resampling import separable_taps
from Testing.helpers.grids import GRIDS, make_grid

PARALLEL = [name for name in GRIDS if not name.startswith("oblique")]


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
