"""A second look goes to where something is, and its result lies where the first one's did."""

import numpy as np
import pytest

from MedLLMSegLib import segment
from MedLLMSegLib.core.geometry import Grid, transform_points
from MedLLMSegLib.segmentation.closer_look import closer_grid
from Testing.helpers.grids import GRIDS, make_grid
from Testing.segmentation.test_whole_scan import normalised, shades_model, two_things

__all__ = ["normalised"]  # a fixture of its tests that is needed here, too

WHOLE = 40_000_000
SETTINGS = {"closer_look_mm": 5.0}


def winner(shape, box):
    found = np.zeros(shape, np.uint8)
    found[box] = 3
    return found


def found_box(grid, closer):
    """The voxels of a grid that a closer grid holds."""
    start = transform_points(np.linalg.inv(grid.ijk_to_ras), closer.ijk_to_ras[:3, 3])[::-1]
    return [slice(round(a), round(a) + n) for a, n in zip(start, closer.shape, strict=True)]


@pytest.mark.parametrize("middle", [0, 40, 100, 199])
def test_it_holds_what_was_found_with_its_margin(middle):
    grid = Grid((200, 180, 210), np.diag([1.0, 1.0, 2.0, 1.0]))  # slices of 2 mm
    low, high = max(0, middle - 20), min(200, middle + 21)
    closer = closer_grid(
        winner(grid.shape, (slice(low, high), slice(30, 70), slice(5, 60))), grid, SETTINGS
    )
    k, j, i = found_box(grid, closer)
    assert k.start <= max(0, low - 2) and k.stop >= min(200, high + 2)
    assert j.start <= 25 and j.stop >= 75 and i.start == 0 and i.stop >= 65
    assert all(
        span.start >= 0 and span.stop <= n for span, n in zip((k, j, i), grid.shape, strict=True)
    )
    assert all(n % 16 == 0 for n in closer.shape)


def test_a_small_part_elsewhere_does_not_widen_it():
    grid = Grid((100, 100, 100), np.eye(4))
    found = winner(grid.shape, (slice(10, 40),) * 3)
    alone = closer_grid(found, grid, SETTINGS)
    found[90:93, 90:93, 90:93] = 1
    assert closer_grid(found, grid, SETTINGS).shape == alone.shape


@pytest.mark.parametrize(
    "box, settings",
    [
        ((slice(0, 0),) * 3, SETTINGS),
        ((slice(2, 98),) * 3, SETTINGS),
        ((slice(10, 40),) * 3, {}),
    ],
    ids=["nothing found", "found everywhere", "not asked for"],
)
def test_no_second_look(box, settings):
    assert closer_grid(winner((100, 100, 100), box), Grid((100,) * 3, np.eye(4)), settings) is None


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("name", ["permuted (2, 0, 1)", "anisotropic", "oblique"])
def test_the_labels_lie_where_they_would_without_it(name, maps):
    scan, _ = two_things(GRIDS[name])
    settings = {"whole_vox": WHOLE, "keep_largest": "together"}
    plain = segment(scan, shades_model(**settings), probabilities=maps)
    model = shades_model(**settings, **SETTINGS)
    closer = segment(scan, model, probabilities=maps)
    assert np.array_equal(closer.labels.array, plain.labels.array)
    first, second = model.network.windows
    assert np.prod(second) < np.prod(first)
    if maps:
        found = plain.labels.array > 0
        assert np.allclose(
            closer.probabilities.array[:, found], plain.probabilities.array[:, found], atol=1e-5
        )


def test_maps_are_there_where_the_first_look_was_close_enough():
    scan, _ = two_things(make_grid(field_mm=70.0))
    model = shades_model(whole_vox=WHOLE, closer_look_mm=60.0)
    result = segment(scan, model, uncertainty=True)
    first, second = model.network.windows
    assert first == second and result.uncertainty is not None
