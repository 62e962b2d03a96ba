"""Corrupted scans: worse by level, the same each time, with labels that stay on what they name."""

import numpy as np
import pytest

from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.label_shape import label_shapes
from MedLLMSegLib.studies.quality.corruptions import (
    FITTED_KINDS,
    KINDS,
    LEVELS,
    ONLY_FOR_TESTS,
    Corruption,
    corrupt,
    drawn,
)


@pytest.fixture(scope="module")
def labelled():
    """A bright ball in noise, with thick slices along k."""
    k, j, i = np.indices((12, 60, 60), float)
    labels = (np.hypot(np.hypot(4 * (k - 6), j - 32), i - 28) < 16).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 3, labels.shape)
    image = (40 + 100 * labels + noise).astype(np.float32)
    return Volume(image, np.diag([-1.5, -1.5, -6.0, 1.0]), "ball"), labels


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_drawn_from_the_name_alone_and_keeps_image_and_labels_together(labelled, kind):
    scan, labels = labelled
    worst = Corruption(kind, LEVELS)
    image, moved = corrupt(scan, labels, worst)
    again, _ = corrupt(scan, labels, worst)
    assert image.array.shape == moved.shape
    assert np.array_equal(image.array, again.array)
    assert np.isfinite(image.array).all()
    if kind in ("cut", "turned", "slices that slipped"):
        inside = moved > 0
        assert image.array[inside].mean() > image.array[~inside].mean() + 50


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("pixel size", "cut")])
def test_a_higher_level_is_further_from_the_scan(labelled, kind):
    scan, labels = labelled
    as_it_is, _ = corrupt(scan, labels, Corruption("gamma", 0))  # the same scale of grey values

    def likeness(level):
        image, _ = corrupt(scan, labels, Corruption(kind, level))
        return np.corrcoef(image.array.ravel(), as_it_is.array.ravel())[0, 1]

    assert likeness(LEVELS) < likeness(1) < 1


def test_a_wrong_pixel_size_changes_lengths_in_the_slice_and_not_its_thickness(labelled):
    scan, labels = labelled
    image, same = corrupt(scan, labels, Corruption("pixel size", LEVELS))
    assert same is labels
    ratio = np.array(image.spacing_mm) / np.array(scan.spacing_mm)
    assert ratio[0] == pytest.approx(1)
    assert ratio[1] == pytest.approx(ratio[2])
    assert ratio[1] == pytest.approx(2.2) or ratio[1] == pytest.approx(1 / 2.2)


def test_a_cut_scan_lies_where_it_lay(labelled):
    scan, labels = labelled
    cut, rest = corrupt(scan, labels, Corruption("cut", 1))
    assert cut.array.size < scan.array.size
    before = label_shapes(scan.with_array(labels))[1].centre_ras
    assert np.linalg.norm(np.subtract(label_shapes(cut.with_array(rest))[1].centre_ras, before)) < 9


def test_all_kinds_and_levels_are_met_and_new_kinds_in_tests_alone():
    chosen = [c for number in range(36) for c in drawn(number, FITTED_KINDS, 5)]
    met = {(c.kind, c.level) for c in chosen if c.kind}
    assert met == {(kind, level) for kind in FITTED_KINDS for level in range(1, LEVELS + 1)}
    assert sum(not c.kind for c in chosen) == 36
    assert not set(ONLY_FOR_TESTS) & set(FITTED_KINDS)
    assert Corruption("ghosts", 1).is_new
    assert not Corruption("noise", 1).is_new
