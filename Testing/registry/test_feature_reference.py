"""Mahalanobis's distance from a model's own images, with fewer images than features."""

import numpy as np
import pytest

from MedLLMSegLib.registry.feature_reference import FeatureReference


def images(count, seed=0, width=60):
    """Features of which three directions hold nearly all the variance."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(9).normal(size=(3, width))
    return rng.normal(size=(count, 3)) * (9, 3, 1) @ directions + 0.1 * rng.normal(
        size=(count, width)
    )


def test_images_of_the_same_kind_are_about_one_away():
    reference = FeatureReference.fit(images(200), 3)
    assert np.sqrt((reference.distances(images(200)) ** 2).mean()) == pytest.approx(1, abs=0.02)
    assert np.median(reference.distances(images(100, seed=1))) == pytest.approx(1, abs=0.1)


def test_a_step_where_images_never_vary_counts_more_than_a_larger_one_where_they_do():
    reference = FeatureReference.fit(images(200), 3)
    own, along = images(1, seed=2)[0], np.random.default_rng(9).normal(size=(3, 60))[0]
    across = np.random.default_rng(5).normal(size=60)
    near, far = reference.distances(np.stack([own + 5 * along, own + 1 * across]))
    assert far > 3 * near


def test_with_all_components_it_is_mahalanobis_of_the_sample_covariance():
    few = images(40, width=6)
    reference = FeatureReference.fit(few, 5)  # the sixth direction is "the rest"
    other = images(5, seed=3, width=6)
    gap = other - few.mean(0)
    wanted = np.sqrt(np.einsum("ni,ij,nj->n", gap, np.linalg.inv(np.cov(few.T)), gap) / 6)
    assert np.allclose(reference.distances(other), wanted, rtol=1e-6)


def test_a_feature_that_is_the_same_in_all_images_tells_the_one_in_which_it_differs():
    features = images(50)
    features[:, 7] = 4.0
    reference = FeatureReference.fit(features, 3)
    odd = features[:1].copy()
    odd[:, 7] = 4.01
    assert reference.distances(odd)[0] > 10 * reference.distances(features[:1])[0]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_make_no_reference(count):
    with pytest.raises(ValueError, match="make no reference"):
        FeatureReference.fit(images(count), 3)


def test_a_damaged_reference_is_refused():
    whole = FeatureReference.fit(images(50), 3)
    with pytest.raises(ValueError, match="numbers that are none"):
        FeatureReference(whole.mean * np.nan, whole.scale, whole.basis, whole.variances, whole.rest)
    with pytest.raises(ValueError, match="parts of"):
        FeatureReference(whole.mean[1:], whole.scale, whole.basis, whole.variances, whole.rest)
