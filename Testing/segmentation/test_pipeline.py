"""`segment` with a network that needs no weights: bright voxels are the organ, so that every
place is known.
"""

from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import Cancelled, UserError, Volume, segment
from MedLLMSegLib.core.geometry import transform_points
from Testing.helpers.bright_organ import bright_organ_model, bright_organ_scan
from Testing.helpers.grids import GRIDS, dice, ellipsoid, make_grid


@pytest.mark.parametrize("side", (None, "left", "right"))
@pytest.mark.parametrize(
    "name",
    (
        "flipped (-1, 1, -1)",
        "permuted (2, 0, 1)",
        "anisotropic",
        "oblique",
        "oblique, flipped, permuted, anisotropic",
    ),
)
def test_a_crop_is_segmented_where_it_lies(name, side):
    grid = GRIDS[name]
    result = segment(bright_organ_scan(grid), bright_organ_model(), side=side)
    assert result.labels.array.shape == grid.shape
    assert np.array_equal(result.labels.ijk_to_ras, grid.ijk_to_ras)
    assert dice(result.labels.array > 0, ellipsoid(grid)) > 0.87
    first = 3 if side == "right" else 1
    assert set(np.unique(result.labels.array)) == {0, first, first + 1}
    place = {
        v: transform_points(grid.ijk_to_ras, np.argwhere(result.labels.array == v)[:, ::-1]).mean(0)
        for v in (first, first + 1)
    }
    assert place[first][1] > place[first + 1][1]  # the anterior part lies further along +A
    assert [s.key for s in result.structures][:1] == (["left_anterior"] if side else ["anterior"])


def test_the_notes_of_a_file_s_reader_come_first():
    scan = replace(bright_organ_scan(GRIDS["oblique"]), notes=("One file was passed over.",))
    assert segment(scan, bright_organ_model()).notes[0] == "One file was passed over."


def test_volumes_are_in_millilitres():
    grid = make_grid(spacing=(0.5, 1.0, 2.0))
    result = segment(bright_organ_scan(grid), bright_organ_model())
    assert sum(result.volumes_ml.values()) == pytest.approx(
        4 / 3 * np.pi * 6 * 11 * 8 / 1000, rel=0.05
    )
    assert all(0.5 < c <= 1 for c in result.confidence.values())


def test_probabilities_lie_on_the_scan_and_agree_with_the_labels():
    grid = GRIDS["oblique"]
    result = segment(bright_organ_scan(grid), bright_organ_model(), probabilities=True)
    maps = result.probabilities.array
    assert maps.shape == (2, *grid.shape)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max() <= 1.0001
    inside = result.labels.array > 0
    assert np.array_equal(maps.argmax(0)[inside] + 1, result.labels.array[inside])


def test_progress_rises_and_can_stop_the_work(head):
    seen = []
    segment(
        head[0],
        bright_organ_model(localizer=object()),
        progress=lambda stage, fraction: seen.append((stage, fraction)),
    )
    fractions = [f for _, f in seen]
    assert fractions == sorted(fractions)
    assert seen[-1] == ("done", 1.0)
    assert len({s for s, _ in seen}) >= 4

    def stop(stage, fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        segment(head[0], bright_organ_model(), progress=stop)


def test_other_sides_and_bad_scans_are_refused():
    with pytest.raises(UserError, match="not a side"):
        segment(bright_organ_scan(make_grid()), bright_organ_model(), side="up")
    with pytest.raises(UserError, match="same value"):
        segment(Volume(np.ones((9, 9, 9)), np.eye(4)), bright_organ_model())
