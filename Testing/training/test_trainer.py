"""The loop with a recipe of one weight: budgets, small checkpoints, steps that are passed over."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.training.checkpoint import TrainingState
from MedLLMSegLib.training.loop_config import NO_LIMIT, Budget, LoopConfig
from MedLLMSegLib.training.recipe import Recipe, ValidationScores
from MedLLMSegLib.training.small_checkpoint import SmallCheckpoint
from MedLLMSegLib.training.trainer import Trainer

CONFIG = LoopConfig(
    steps=6, batch=2, lr=0.1, weight_decay=0.0, validate_every=3, log_every=1, checkpoint_s=1e9
)


class Numbers(Dataset):
    """Sample number n -> the number itself."""

    def __getitem__(self, number):
        return {"x": torch.tensor([float(number)]), "case": f"number {number}"}

    def __len__(self):
        return NO_LIMIT


class OneWeight(Recipe):
    """Learns that a weight is 2; each of ``bad`` steps has no finite loss."""

    def __init__(self, bad=(), tolerated=0):
        self.samples, self.bad, self.tolerated = Numbers(), bad, tolerated
        self.seen, self.moments = [], []

    def loss(self, network, batch, step):
        self.seen.append(batch["x"].flatten().tolist())
        return (network.weight - 2).square().sum() * (float("nan") if step in self.bad else 1.0)

    def score(self, network, share, progress):
        progress("looking at the weight", 0.5)
        scores = ValidationScores()
        scores.add(1 / (1 + abs(network.weight.item() - 2)), {}, torch.zeros(1).numpy())
        return scores

    def rate(self, moment):
        self.moments.append(moment)
        return 1.0


def trainer(output, recipe=None, config=CONFIG, **more):
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    return Trainer(network, recipe or OneWeight(), config, output, {"of": "tests"}, **more)


def history(folder):
    return json.loads((folder / "history.json").read_text())


def test_a_recipe_sees_each_sample_once_learns_and_is_scored(tmp_path):
    recipe, drawn = OneWeight(), []
    made = trainer(tmp_path, recipe, on_validation=lambda *told: drawn.append(told[0]))
    result = made.run()
    assert recipe.seen == [[2.0 * n, 2.0 * n + 1] for n in range(6)]
    assert result.best_score > 1 / 3  # as at the beginning
    assert drawn == [3, 6]
    assert [m.done for m in recipe.moments] == pytest.approx([n / 6 for n in range(6)])


def test_a_history_that_a_kill_left_behind_its_checkpoint_is_written_anew(tmp_path):
    trainer(tmp_path).run()
    whole = history(tmp_path)
    (tmp_path / "history.json").write_text(json.dumps(whole[:-1]))
    trainer(tmp_path).run()
    assert history(tmp_path) == whole


def test_minutes_end_a_training_and_more_of_them_go_on(tmp_path):
    endless = replace(CONFIG, steps=NO_LIMIT, validate_every=0)
    first = trainer(tmp_path, config=endless, minutes=0.002).run()
    assert 0 < first.steps < NO_LIMIT
    assert first.seconds < 10
    recipe = OneWeight()
    second = trainer(tmp_path, recipe, config=endless, minutes=0.004).run()
    assert second.steps > first.steps
    assert recipe.seen[0][0] == 2 * first.steps  # the next sample
    assert not any("val_dice" in row for row in history(tmp_path))  # validate_every is 0
    assert trainer(tmp_path, config=endless, minutes=0.003).run().steps == second.steps


def test_the_last_weights_are_scored_where_minutes_end_a_training(tmp_path):
    seldom = replace(CONFIG, steps=NO_LIMIT, validate_every=NO_LIMIT)
    result = trainer(tmp_path, config=seldom, minutes=0.002).run()
    assert [row["step"] for row in history(tmp_path) if "val_dice" in row] == [result.steps]


def test_a_budget_says_what_is_left():
    state = TrainingState({}, step=10, seconds=60.0)
    assert Budget(40).done(state) == 0.25
    assert Budget(40).status(state) == "step 10 of 40, 3 min 0 s left"
    assert Budget(NO_LIMIT, 4.0).done(state) == 0.25
    assert Budget(NO_LIMIT, 4.0).status(state) == "step 10, 3 min 0 s left"
    assert Budget(10, 4.0).over(state)
    assert Budget(NO_LIMIT, 1.0).over(state)
    assert not Budget(11, 1.1).over(state)


def test_a_training_that_starts_from_a_small_checkpoint_goes_on_with_its_samples(tmp_path):
    weights = {"weight": torch.full((1, 1), 1.5)}
    small = SmallCheckpoint({"weight": torch.full((1, 1), 1.6)}, weights, 4, 30.0)
    recipe = OneWeight()
    made = trainer(tmp_path, recipe)
    made.start_from(small)
    assert float(made.network.weight) == 1.5
    assert float(made.state.average["weight"]) == pytest.approx(1.6)
    result = made.run()
    assert result.seconds >= 30
    assert recipe.seen == [[8.0, 9.0], [10.0, 11.0]]
    assert [(m.step, m.warm_step) for m in recipe.moments] == [(4, 0), (5, 1)]
    # Its own checkpoint is further, and the warm-up is not begun once more.
    recipe = OneWeight()
    again = trainer(tmp_path, recipe, replace(CONFIG, steps=7))
    again.start_from(small)
    again.run()
    assert [(m.step, m.warm_step) for m in recipe.moments] == [(6, 2)]


def test_steps_without_a_finite_loss_change_nothing_where_they_are_tolerated(tmp_path):
    recipe = OneWeight(bad=(1, 2, 5), tolerated=2)
    made, weights = trainer(tmp_path, recipe, replace(CONFIG, validate_every=0)), []
    report = Progress(lambda text, done: weights.append(float(made.network.weight)))
    assert made.run(report).steps == 6
    assert torch.isfinite(made.state.average["weight"]).all()
    assert [row["step"] for row in history(tmp_path) if "loss" in row] == [1, 4, 5]
    assert len(set(weights)) == 3


def test_one_step_more_than_is_tolerated_ends_it_and_keeps_the_last_good_weights(tmp_path):
    made = trainer(tmp_path, OneWeight(bad=(2, 3, 4), tolerated=2))
    with pytest.raises(UserError, match="loss became not finite at step 4, on the cases number 8"):
        made.run()
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert torch.isfinite(saved["network"]["weight"]).all()
