"""Pictures are drawn, and the number beside a t-SNE map is about chance for noise and about 1
for what is there.
"""

import numpy as np

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
    assert is_png(
        pictures.draw_map(
            rng.normal(size=(40, 2)), {"class": truth.astype(str)}, tmp_path / "map.png", "features"
        )
    )
