"""The study of the brain model's arms, with a tiny network."""

from dataclasses import replace

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.network_config import BRAIN
from MedLLMSegLib.studies import brain_arms
from MedLLMSegLib.training.synthesis.train_brain import BrainRequest
from Testing.training.synthesis.made_up_head import made_up_head

TINY = replace(BRAIN, stem_channels=(4, 8, 8, 8), width=24, heads=2, depth=1)
SHAPE = (32, 32, 32)


def study(output, seeds=1, only=None, steps=1):
    maps = {"train": [made_up_head()], "val": [made_up_head()]}
    request = BrainRequest(
        "unused",
        str(output),
        shape=SHAPE,
        val_shape=SHAPE,
        val_images=1,
        steps=steps,
        precision="fp32",
    )
    one = brain_arms.brain_study(request, seeds, device="cpu", config=TINY, maps=maps)
    one.run(only)
    return one.results.runs


def test_arms_are_trained_once_and_the_table_is_of_what_is_finished(tmp_path, monkeypatch):
    results = study(tmp_path, only="[AF]-0")
    assert set(results) == {"A-0", "F-0"}
    assert {r["steps"] for r in results.values()} == {1}
    page = brain_arms.page(results, 1, "the command")
    score = f"{results['A-0']['val_dice']:.4f}"
    assert f"| A: tokens, no block | {score} | {score} | {results['A-0']['seconds']:.0f} |" in page
    assert "| D: frozen random block | not run | not run | not run |" in page
    assert "    the command\n" in page
    assert "2 arms are not finished" in page
    monkeypatch.setattr(brain_arms, "train_brain", None)  # would fail if it were called again
    assert study(tmp_path, only="[AF]-0") == results
    with pytest.raises(UserError, match="cannot be compared"):
        study(tmp_path, only="A-0", steps=2)


def test_a_name_that_no_run_has_is_refused(tmp_path):
    with pytest.raises(UserError, match=r'No run is called "B-0"; the arms are none, A, D, F'):
        study(tmp_path, only="B-0")


@pytest.mark.parametrize(("of_f", "ships"), [(0.797, "F"), (0.79, "none"), (0.81, "F")])
def test_the_pretrained_block_ships_where_it_is_near_the_best(of_f, ships):
    scores = {"none": 0.8, "A": 0.7, "D": 0.7, "F": of_f}
    results = {
        f"{arm}-{seed}": {"val_dice": score + 0.001 * seed, "seconds": 60.0}
        for arm, score in scores.items()
        for seed in range(2)
    }
    page = brain_arms.page(results, 2, "the command")
    assert f" {ships} ships" in page
    assert page.count("\n|") == 5
    assert f"| none: no tokens | {0.8005:.4f} | 0.8000, 0.8010 |" in page


def test_the_command_says_in_a_sentence_what_is_wrong(tmp_path, capsys):
    command = ["--data", str(tmp_path), "--output", str(tmp_path / "out"), "--steps", "1"]
    assert brain_arms.main(command) == 2
    assert "no splits.json" in capsys.readouterr().err
