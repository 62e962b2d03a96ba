"""The figure beside a t-SNE map is about chance for noise, and near 1 for real differences."""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.evaluation.tsne_map import map_features, predict_from_features


def features_of(rng, n=120):
    source = np.repeat(["left", "right"], n // 2)
    return rng.normal(size=(n, 8)) + 2.5 * (source == "left")[:, None] * np.eye(8)[0], source


def test_what_is_in_the_features_can_be_told_and_noise_cannot():
    rng = np.random.default_rng(0)
    features, source = features_of(rng)
    told = predict_from_features(features, source, range(120))
    assert told.auc.value > 0.9
    assert told.accuracy.value > 0.8
    assert told.chance == 0.5
    assert told.values == {"left": 60, "right": 60}
    blind = predict_from_features(features, rng.permutation(source), range(120))
    assert abs(blind.auc.value - 0.5) < 0.15
    assert blind.auc.low < 0.5 < blind.auc.high


def test_patients_do_not_cross_the_folds():
    """Features that name the patient and nothing else: told by heart if a patient were in both
    parts.
    """
    rng = np.random.default_rng(0)
    patients = np.repeat(range(30), 4)
    features = rng.normal(size=(30, 16))[patients] + 0.01 * rng.normal(size=(120, 16))
    source = np.where(rng.random(30) < 0.5, "a", "b")[patients]
    assert predict_from_features(features, source, range(120)).auc.value > 0.9
    assert predict_from_features(features, source, patients).auc.value < 0.75


def test_nothing_to_tell():
    assert predict_from_features(np.zeros((20, 2)), ["one"] * 20, range(20)) is None
    assert predict_from_features(np.zeros((20, 2)), ["one"] * 18 + ["two"] * 2, range(20)) is None


def test_the_map_keeps_islands_apart_and_is_the_same_twice():
    features, source = features_of(np.random.default_rng(0), 60)
    features[source == "left"] += 20
    points = map_features(features)
    assert points.shape == (60, 2)
    assert np.array_equal(points, map_features(features))
    centre = {s: points[source == s].mean(0) for s in ("left", "right")}
    nearer = [
        np.linalg.norm(p - centre[s])
        < np.linalg.norm(p - centre["right" if s == "left" else "left"])
        for p, s in zip(points, source, strict=True)
    ]
    assert all(nearer)
    with pytest.raises(UserError, match="at least 8"):
        map_features(features[:5])
