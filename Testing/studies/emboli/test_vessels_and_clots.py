"""The arteries' tree, and the filling defects that are inserted into it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from MedLLMSegLib.studies.emboli.clots import (
    APART_MM,
    CENTRAL,
    HU,
    SEGMENTAL,
    clot_places,
    draw_clots,
    insert,
)
from MedLLMSegLib.studies.emboli.vessels import (
    edge_blur_mm,
    low_voxels,
    nearer_to_first,
    searched_voxels,
)
from Testing.helpers.made_up_chest import ARTERY_HU, SHAPE, artery_mask, branches, patient


@pytest.fixture(scope="module")
def person():
    return patient()


@pytest.fixture(scope="module")
def places(person):
    vessels = person.vessels
    return clot_places(vessels.arteries, vessels.label, np.ones(SHAPE, bool), 1.5)


def test_the_label_grows_into_its_branches_and_not_into_the_heart(person):
    truth = artery_mask() | branches()
    arteries = person.vessels.arteries
    core = ndimage.binary_erosion(truth)
    assert (arteries & core).sum() > 0.95 * core.sum()
    assert not (arteries & ~ndimage.binary_dilation(truth)).any()


def test_a_voxel_goes_to_the_seed_that_fewer_steps_lead_to():
    free = np.zeros((3, 3, 9), bool)
    free[1, 1, 1:8] = True
    free[1, 1, 7] = False
    first, second = np.zeros_like(free), np.zeros_like(free)
    first[1, 1, 0] = second[1, 1, 6] = True
    found = nearer_to_first(first, second, free)
    assert np.flatnonzero(found[1, 1]).tolist() == [0, 1, 2, 3]  # the middle goes to the first
    assert found.sum() == 4


def test_clots_lie_within_the_arteries_and_apart(person, places):
    for seed in range(3):
        clots = draw_clots(places, {CENTRAL: 1, SEGMENTAL: 4}, np.random.default_rng(seed))
        assert {clot.kind for clot in clots} == {CENTRAL, SEGMENTAL}
        for clot in clots:
            assert person.vessels.arteries[tuple(clot.voxels.T)].all()
            assert len(np.unique(clot.voxels, axis=0)) == len(clot.voxels)
            assert clot.ml == pytest.approx(len(clot.voxels) * 1.5**3 / 1000)
            assert HU[0] <= clot.hu <= HU[1]
        for n, clot in enumerate(clots):
            for other in clots[:n]:
                gaps = np.linalg.norm(clot.voxels[:, None] - other.voxels[None], axis=-1) * 1.5
                assert gaps.min() > APART_MM


def test_the_same_seed_draws_the_same_and_an_empty_zone_nothing(person, places):
    one, other = (draw_clots(places, {SEGMENTAL: 3}, np.random.default_rng(5)) for _ in range(2))
    assert [c.voxels.tolist() for c in one] == [c.voxels.tolist() for c in other]
    vessels = person.vessels
    empty = clot_places(vessels.arteries, vessels.label, np.zeros(SHAPE, bool), 1.5)
    assert draw_clots(empty, {CENTRAL: 2, SEGMENTAL: 2}, np.random.default_rng(0)) == []


def test_an_inserted_clot_has_its_hu_keeps_the_noise_and_changes_nothing_elsewhere(person, places):
    (clot,) = draw_clots(places, {CENTRAL: 1}, np.random.default_rng(2))
    hu = insert(person.chest.hu, [clot], ARTERY_HU, 0.75, 1.5)
    inside = np.zeros(SHAPE, bool)
    inside[tuple(clot.voxels.T)] = True
    core = ndimage.binary_erosion(inside, iterations=2)
    assert core.any()
    assert hu[core].mean() == pytest.approx(clot.hu, abs=12)
    assert hu[core].std() == pytest.approx(10, abs=6)
    away = ~ndimage.binary_dilation(inside, np.ones((7, 7, 7)))
    assert np.array_equal(hu[away], person.chest.hu[away])


def test_places_to_look_at_hold_the_clot(person, places):
    (clot,) = draw_clots(places, {CENTRAL: 1}, np.random.default_rng(2))
    hu = insert(person.chest.hu, [clot], ARTERY_HU, 0.75, 1.5)
    assert low_voxels(hu, person.vessels, 1.5)[tuple(clot.voxels.T)].mean() > 0.8
    before = low_voxels(person.chest.hu, person.vessels, 1.5)
    assert before[tuple(clot.voxels.T)].mean() < 0.3


@pytest.mark.parametrize("sigma_mm", [1.2, 1.8])
def test_the_blur_of_a_scan_is_measured(person, sigma_mm):
    clean = np.full(SHAPE, 40.0)
    clean[person.chest.lungs] = -850.0
    clean[artery_mask()] = ARTERY_HU
    wide = ndimage.binary_dilation(artery_mask(), iterations=3)
    clean[wide & person.chest.lungs] = ARTERY_HU
    blurred = ndimage.gaussian_filter(clean, sigma_mm / 1.5)
    found = edge_blur_mm(replace(person.chest, hu=blurred), person.vessels)
    assert found == pytest.approx(sigma_mm, rel=0.25)


def test_behind_a_blocked_branch_nothing_is_searched_but_the_clot_is(person):
    """The arteries are grown in the scan with the clot, not known from the clean one."""
    hu = person.chest.hu.copy()
    before = searched_voxels(hu, person.vessels, 1.5)
    hu[36:45, 36:45, 85:88] = 40.0  # a plug in the branch to the right
    after = searched_voxels(hu, person.vessels, 1.5)
    assert after[40, 40, 85:88].all()
    assert before[:, :, 94:].any()
    assert not after[:, :, 94:].any()
