"""Lungs found in a phantom, and what is measured in it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.studies.nodules.density import measure_density, measure_point_spread
from MedLLMSegLib.studies.nodules.lungs import find_lungs
from MedLLMSegLib.studies.nodules.scans import made_scan, to_working
from Testing.helpers.chest_phantom import NODULE_HU, SHAPE, SPACING, chest, nodule

TO_THE_BACK = np.diag([-2.0, -2.0, 3.0, 1.0])  # rows from front to back, as in DICOM


@pytest.fixture(scope="module")
def scan():
    return chest()


def test_lungs_hold_their_vessel_and_nodule_and_no_air_outside(scan):
    lungs = find_lungs(scan)
    assert lungs[20, 55, 40]
    assert lungs[20, 55, 92]  # the vessel
    assert lungs[nodule()].all()
    assert not lungs[:, :5].any()
    assert not lungs[20, 55, 65]  # between them
    litres = lungs.sum() * np.prod(SPACING) / 1e6
    true = 2 * 4 / 3 * np.pi * 54 * 60 * 40 / 1e6
    assert abs(litres - true) < 0.1 * true


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (chest(lungs=False), "0.0 litres"),
        (Volume(np.random.default_rng(0).random(SHAPE), np.eye(4), "mr"), "Hounsfield"),
        (Volume(np.full((1, 90, 90), -1000.0), np.eye(4), "slice"), "flat"),
        (Volume(np.full((9, 90, 90), np.nan), np.eye(4), "nan"), "nan"),
    ],
)
def test_what_is_no_chest_ct_is_refused_in_one_sentence(volume, words):
    with pytest.raises(UserError, match=words) as refused:
        find_lungs(volume)
    assert "\n" not in str(refused.value)


def test_density_and_texture_are_those_that_were_put_in(scan):
    rng = np.random.default_rng(1)
    density = measure_density(scan.array, nodule(), SPACING)
    assert abs(density.hu - NODULE_HU) < 4
    assert 6 < density.sd_hu < 14
    assert density.texture_mm < 1.2  # the phantom's noise is white
    smooth = ndimage.gaussian_filter(rng.normal(size=(30, 60, 60)), (0, 1.5, 1.5))
    ball = np.zeros(smooth.shape, bool)
    ball[2:-2, 5:-5, 5:-5] = True
    found = measure_density(100 + 40 * smooth / smooth.std(), ball, (2.0, 2.0, 2.0))
    assert abs(found.texture_mm - 3.0) < 0.3
    with pytest.raises(UserError, match="20 are needed"):
        measure_density(scan.array, np.zeros(SHAPE, bool), SPACING)


@pytest.mark.parametrize("blur_mm", [1.0, 2.0])
def test_the_point_spread_is_that_of_the_skin(blur_mm):
    j, i = np.indices((4 * SHAPE[1], 4 * SHAPE[2])) / 4
    body = ((j - 55) / 45) ** 2 + ((i - 65) / 58) ** 2 < 1
    fine = ndimage.gaussian_filter(np.where(body, 0.0, -1000.0), 2 * blur_mm)
    plane = fine.reshape(SHAPE[1], 4, SHAPE[2], 4).mean(axis=(1, 3))
    array = np.repeat(plane[None], SHAPE[0], axis=0)
    found = measure_point_spread(Volume(array, TO_THE_BACK, "ct"))
    # a voxel's own width adds to the blur
    assert abs(found - np.sqrt(blur_mm**2 + 2**2 / 12)) < 0.35


def test_the_point_spread_is_measured_at_the_front_whichever_way_the_rows_lie(scan):
    array = scan.array.astype(float)
    array[:, 55:] = ndimage.gaussian_filter(array[:, 55:], (0, 3, 3))  # clothes and a couch behind
    lying = Volume(array, TO_THE_BACK, "ct")
    turned = Volume(array[:, ::-1], np.diag([2.0, 2.0, 3.0, 1.0]), "ct")  # rows to the front
    assert measure_point_spread(turned) == pytest.approx(measure_point_spread(lying))
    backwards = measure_point_spread(Volume(array, turned.ijk_to_ras, "ct"))
    assert backwards > 2 * measure_point_spread(lying)
    sagittal = Volume(array, TO_THE_BACK[[1, 0, 2, 3]], "ct")
    with pytest.raises(UserError, match="axial"):
        measure_point_spread(sagittal)


def test_other_voxels_are_refused(scan):
    finer = replace(scan, ijk_to_ras=np.diag([1.9, 1.9, 3.0, 1.0]))
    with pytest.raises(UserError, match="resample"):
        made_scan("finer", finer, nodule(), nodule=True)


def test_the_working_grid_lies_where_the_scan_lies():
    ramp = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    working = to_working(ramp, 5.0)
    assert np.allclose(working[:, 0, 0], np.arange(13) * 2 / 5)
