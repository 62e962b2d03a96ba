"""Weights between the start and the end of a fine-tuning are scored, and kept where better."""

import pytest
import torch

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.training.blend import SHARES, blended, fits, keep_best_blend
from MedLLMSegLib.training.checkpoint import load_best
from Testing.helpers.one_weight import OneWeight, trainer

START = {"weight": torch.zeros(1, 1, dtype=torch.float16)}


def finished(folder, best):
    made = trainer(folder, OneWeight(best=best))
    made.run()
    return made


def test_weights_on_the_way_are_kept_where_they_are_better_on_val(tmp_path):
    """The training ends near 0.6 with its average, and on val half of that is best."""
    made = finished(tmp_path, best=0.0)
    end = made.state.average["weight"].item()
    made.recipe.best = end / 2
    found = keep_best_blend(made, START, Progress())
    assert [blend.share for blend in found] == list(SHARES)
    kept = load_best(tmp_path)
    assert kept["share"] == 0.5
    assert kept["weights"]["weight"].item() == pytest.approx(end / 2)
    assert kept["val_dice"] == pytest.approx(1.0)
    assert made.state.average["weight"].item() == pytest.approx(end)  # a training may go on
    assert keep_best_blend(made, START, Progress()) == []  # it was done


def test_the_best_of_the_training_stays_where_it_is_better(tmp_path):
    made = finished(tmp_path, best=2.0)
    before = load_best(tmp_path)
    assert len(keep_best_blend(made, START, Progress())) == len(SHARES)
    kept = load_best(tmp_path)
    assert kept["share"] == 1.0
    assert torch.equal(kept["weights"]["weight"], before["weights"]["weight"])
    assert kept["val_dice"] == before["val_dice"]


def test_weights_of_another_network_are_not_blended(tmp_path):
    made = finished(tmp_path, best=2.0)
    for start in ({}, {"weight": torch.zeros(2, 1)}):
        assert not fits(start, made.state.average)
        assert keep_best_blend(made, start, Progress()) == []
    assert "share" not in load_best(tmp_path)


def test_a_blend_moves_every_tensor_by_its_share():
    start = {"a": torch.tensor([0.0, 2.0]), "b": torch.tensor(1.0), "gone": torch.tensor(5.0)}
    end = {"a": torch.tensor([4.0, 0.0]), "b": torch.tensor(3.0)}
    found = blended(start, end, 0.25)
    assert found.keys() == end.keys()
    assert found["a"].tolist() == [1.0, 1.5]
    assert found["b"].item() == 1.5
