"""Which regions of made-up probabilities are accepted as hippocampi."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import centred_grid, transform_points
from MedLLMSegLib.networks.segmentation.localizer_network import CLASSES
from MedLLMSegLib.segmentation.hippocampus_candidates import (
    Candidate,
    Limits,
    accept_candidates,
    centroid,
    core_region,
    find_candidates,
)

GOOD_LEFT = Candidate("left", (-26.0, -20.0, -12.0), 0.9, 3.0, 0.5, 60.0, 0.95)


GOOD_RIGHT = Candidate("right", (27.0, -20.0, -11.0), 0.9, 3.1, 0.5, 60.0, 0.95)


def probabilities(shape=(48, 48, 48), left=(20, 22, 15), right=(22, 22, 33)) -> np.ndarray:
    """Class probabilities [6, k, j, i] of a head with two balls for hippocampi."""
    axes, out = np.indices(shape), np.zeros((len(CLASSES), *shape), np.float32)
    out[3, :, :, :24], out[4, :, :, 24:] = 1, 1
    for channel, centre in ((1, left), (2, right)):
        ball = (
            (
                2
                * np.exp(
                    -sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) / (2 * 1.6**2)
                )
            )
            .clip(0, 1)
            .astype(np.float32)
        )
        out *= 1 - ball
        out[channel] += ball
    return out


def test_two_good_sides_are_both_reported_left_first():
    assert [p.side for p in accept_candidates("anyone", [GOOD_LEFT, GOOD_RIGHT], Limits())] == [
        "left",
        "right",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"centre_ras": (27.0, 30.0, -12.0)},  # almost where the other one is
        {"centre_ras": (80.0, -20.0, -12.0)},  # left lies right of right
        {"centre_ras": (-90.0, -20.0, -12.0)},  # too far away
    ],
)
def test_two_sides_in_impossible_places_are_refused(change):
    with pytest.raises(UserError, match=r"anyone.*apart.*load a T1 MRI"):
        accept_candidates("anyone", [replace(GOOD_LEFT, **change), GOOD_RIGHT], Limits())


@pytest.mark.parametrize(
    "change",
    [
        {"confidence": 0.2},
        {"volume_ml": 0.1},
        {"volume_ml": 60.0},
        {"mirror_gap_mm": 20.0},
        {"cerebrum_ml": 1.0},
        {"own_side": 0.2},
    ],
)
def test_an_implausible_side_is_left_out_and_alone_it_is_refused(change):
    bad = replace(GOOD_LEFT, **change)
    assert [p.side for p in accept_candidates("anyone", [bad, GOOD_RIGHT], Limits())] == ["right"]
    with pytest.raises(UserError, match='No hippocampus was found in "anyone"'):
        accept_candidates("anyone", [bad], Limits())


def test_a_side_alone_has_to_be_surer_than_two():
    weak = replace(GOOD_RIGHT, confidence=0.6)
    assert (
        len(accept_candidates("anyone", [replace(GOOD_LEFT, confidence=0.6), weak], Limits())) == 2
    )
    with pytest.raises(UserError):
        accept_candidates("anyone", [weak], Limits())


def test_nothing_at_all_is_refused_in_one_sentence():
    with pytest.raises(UserError) as error:
        accept_candidates("anyone", [], Limits())
    assert str(error.value).count(".") == 1
    assert "\n" not in str(error.value)


def test_centres_are_found_to_a_fraction_of_a_voxel():
    grid = centred_grid((5, -10, 20), (48, 48, 48), 3.0)
    maps = probabilities(left=(20.4, 22.3, 15.0), right=(22.0, 22.0, 33.6))
    for candidate, centre in zip(
        find_candidates(maps, maps, grid),
        ((15.0, 22.3, 20.4), (33.6, 22.0, 22.0)),
        strict=True,
    ):
        np.testing.assert_allclose(
            candidate.centre_ras, transform_points(grid.ijk_to_ras, centre), atol=0.3
        )
        assert candidate.own_side > 0.9
        assert candidate.mirror_gap_mm < 0.1
        assert not candidate.faults(Limits())


def test_views_that_disagree_on_the_place_are_distrusted():
    grid = centred_grid((0, 0, 0), (48, 48, 48), 3.0)
    elsewhere = probabilities(left=(35, 35, 10))
    left = find_candidates(probabilities(), elsewhere, grid)[0]
    assert left.mirror_gap_mm > 8
    assert left.faults(Limits())


def test_a_stray_blob_does_not_pull_the_centre():
    grid, maps = centred_grid((0, 0, 0), (48, 48, 48), 3.0), probabilities()
    stray = maps.copy()
    stray[1, 40:42, 40:42, 5:7] = 0.9
    one, two = (find_candidates(m, m, grid)[0] for m in (maps, stray))
    np.testing.assert_allclose(one.centre_ras, two.centre_ras, atol=1e-3)


def test_the_core_is_the_region_with_the_most_probability_and_nothing_of_the_others():
    probability = np.zeros((9, 10, 11), np.float32)
    probability[1, 1, 1:6] = 0.3  # five voxels, 1.5 in all
    probability[5:7, 6, 9] = 0.9  # two voxels, 1.8 in all
    probability[7, 7, 10] = 0.25  # touches them by a corner
    core = core_region(probability)
    expected = np.zeros(probability.shape, bool)
    expected[5:7, 6, 9] = expected[7, 7, 10] = True
    np.testing.assert_array_equal(core, expected)
    np.testing.assert_allclose(
        centroid(probability, core), ndimage.center_of_mass(probability * core), rtol=1e-6
    )


def test_nothing_above_the_threshold_has_no_core():
    assert core_region(np.full((4, 4, 4), 0.2, np.float32), 0.2) is None
