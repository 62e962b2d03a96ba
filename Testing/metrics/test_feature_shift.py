"""The maximum mean discrepancy of two sets of features, and its p over whole patients."""

import numpy as np
import pytest

from MedLLMSegLib.metrics.feature_shift import feature_shift


def names(prefix, count, of_each=1):
    return [f"{prefix}{n // of_each}" for n in range(count)]


def test_sets_that_lie_apart_are_told_and_sets_of_one_kind_are_not():
    rng = np.random.default_rng(0)
    one, same = rng.normal(size=(40, 10)), rng.normal(size=(50, 10))
    apart = feature_shift(one, same + 1, names("a", 40), names("b", 50), 300)
    alike = feature_shift(one, same, names("a", 40), names("b", 50), 300)
    assert apart.p == pytest.approx(1 / 301)
    assert apart.mmd2 > 10 * abs(alike.mmd2)
    assert alike.p > 0.05


def test_it_is_the_unbiased_estimate_by_its_definition():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 0.5
    both = np.concatenate([one, other])
    scaled = (both - both.mean(0)) / both.std(0)
    d2 = ((scaled[:, None] - scaled[None]) ** 2).sum(-1)
    kernel = np.exp(-d2 / np.median(d2[np.triu_indices(12, 1)]))

    def mean(rows, columns):
        return np.mean([kernel[a, b] for a in rows for b in columns if a != b])

    a, b = range(5), range(5, 12)
    wanted = mean(a, a) + mean(b, b) - 2 * mean(a, b)
    assert feature_shift(one, other, names("a", 5), names("b", 7), 1).mmd2 == pytest.approx(wanted)


def test_ten_images_of_one_patient_are_not_ten_patients():
    """Copies look far apart where images are permuted, and not where patients are."""
    rng = np.random.default_rng(2)
    one, other = (np.repeat(rng.normal(size=(4, 6)), 10, axis=0) for _ in range(2))
    alone = feature_shift(one, other, names("a", 40), names("b", 40), 300)
    together = feature_shift(one, other, names("a", 40, 10), names("b", 40, 10), 300)
    assert alone.p < 0.01
    assert together.p > 0.03
