"""Pictures are drawn, and the number beside a t-SNE map is about chance for noise and about 1
for what is there.
"""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.evaluation.tsne_map import map_features, tell_from_features
from MedLLMSegLib.reporting import classification_plots as pictures


def is_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 3000


def test_every_picture_is_drawn(tmp_path):
    rng = np.random.default_rng(0)
    truth, score = rng.integers(0, 2, 40), rng.random(40)
    both = np.stack([1 - score, score], 1)
    assert is_png(
        pictures.draw_roc(
            truth, both, range(40), ("no", "yes"), tmp_path / "roc.png", 0.5, repeats=20
        )
    )
    three = rng.dirichlet(np.ones(3), 40)
    assert is_png(
        pictures.draw_roc(rng.integers(0, 3, 40), three, range(40), "abc", tmp_path / "roc3.png")
    )
    assert is_png(
        pictures.draw_confusion(truth, score > 0.5, ("no", "yes"), tmp_path / "confusion.png")
    )
    assert is_png(
        pictures.draw_froc(
            {"a": (np.array([0, 1]), np.array([0.2, 1]))}, tmp_path / "froc.png", "false positives"
        )
    )
    history = [{"epoch": n, "loss": 1 / n, "val_auc": 0.5 + n / 10} for n in (1, 2, 3)]
    assert is_png(pictures.draw_history(history, tmp_path / "curve.png", "a run"))
    assert is_png(
        pictures.draw_map(
            rng.normal(size=(40, 2)), {"class": truth.astype(str)}, tmp_path / "map.png", "features"
        )
    )


def features_of(rng, n=120):
    source = np.repeat(["left", "right"], n // 2)
    return rng.normal(size=(n, 8)) + 2.5 * (source == "left")[:, None] * np.eye(8)[0], source


def test_what_is_in_the_features_can_be_told_and_noise_cannot():
    rng = np.random.default_rng(0)
    features, source = features_of(rng)
    told = tell_from_features(features, source, range(120))
    assert (
        told.auc.value > 0.9
        and told.accuracy.value > 0.8
        and told.chance == 0.5
        and told.values == {"left": 60, "right": 60}
    )
    blind = tell_from_features(features, rng.permutation(source), range(120))
    assert abs(blind.auc.value - 0.5) < 0.15 and blind.auc.low < 0.5 < blind.auc.high


def test_patients_do_not_cross_the_folds():
    """Features that name the patient and nothing else: told by heart if a patient were in both
    parts.
    """
    rng = np.random.default_rng(0)
    patients = np.repeat(range(30), 4)
    features = rng.normal(size=(30, 16))[patients] + 0.01 * rng.normal(size=(120, 16))
    source = np.where(rng.random(30) < 0.5, "a", "b")[patients]
    assert tell_from_features(features, source, range(120)).auc.value > 0.9
    assert tell_from_features(features, source, patients).auc.value < 0.75


def test_nothing_to_tell():
    assert tell_from_features(np.zeros((20, 2)), ["one"] * 20, range(20)) is None
    assert tell_from_features(np.zeros((20, 2)), ["one"] * 18 + ["two"] * 2, range(20)) is None


def test_the_map_keeps_islands_apart_and_is_the_same_twice():
    features, source = features_of(np.random.default_rng(0), 60)
    features[source == "left"] += 20
    points = map_features(features)
    assert points.shape == (60, 2) and np.array_equal(points, map_features(features))
    centre = {s: points[source == s].mean(0) for s in ("left", "right")}
    nearer = [
        np.linalg.norm(p - centre[s])
        < np.linalg.norm(p - centre["right" if s == "left" else "left"])
        for p, s in zip(points, source)
    ]
    assert all(nearer)
    with pytest.raises(UserError, match="8 at least"):
        map_features(features[:5])
