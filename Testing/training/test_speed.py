"""How much training fits a time budget: the val cases count, and what takes too long is done
less often.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from MedLLMSegLib.training.optimiser import OPTIMISERS
from MedLLMSegLib.training.segmenter.case_recipe import LabelledCases
from MedLLMSegLib.training.segmenter.planning import speed as unit
from MedLLMSegLib.training.segmenter.planning.speed import (
    TrainingSpeed,
    seconds_per_step,
    seconds_per_validation,
)
from Testing.helpers.toy_training import QUICK, OneWeight, tiny_network, toy_cases


@pytest.mark.parametrize(
    "pace, minutes, steps, looks",
    [
        (TrainingSpeed(1.0, 6.0), 60, 3294, 20),  # 3420 s without slack, less 21 looks
        (
            TrainingSpeed(1.68, 150.0),
            60,
            1500,
            5,
        ),  # thick scans in windows: 20 looks would take all of the hour
        (
            TrainingSpeed(10.0, 100.0),
            1,
            20,
            2,
        ),  # too little time for anything: the least that makes a model
    ],
)
def test_steps_and_looks_take_the_time_that_is_given(pace, minutes, steps, looks):
    assert pace.fit(60 * minutes, 20) == (steps, looks)
    if steps > 20:
        assert steps * pace.step_s + (looks + 1) * pace.validation_s == pytest.approx(
            60 * minutes * 0.95, rel=0.01
        )


def test_looks_are_never_more_than_asked_for():
    assert TrainingSpeed(1.0, 0.1).fit(3600, 3)[1] == 3


def test_a_look_is_all_val_cases_shared_by_the_processes(monkeypatch):
    now = [0.0]

    def predict(network, array, device, window):
        assert not network.training
        assert window == (4, 4, 4)
        now[0] += float(array.size)

    monkeypatch.setattr(unit, "predict", predict)
    monkeypatch.setattr(unit.time, "monotonic", lambda: now[0])
    cases = [{"image": np.zeros((1, n, 1, 1), np.float32)} for n in range(1, 10)]
    network = nn.Conv3d(1, 2, 1).train()
    assert (
        seconds_per_validation(network, cases, (4, 4, 4), torch.device("cpu")) == 9 * 5.0
    )  # the median of 1, 5 and 9
    assert (
        seconds_per_validation(network, cases, (4, 4, 4), torch.device("cpu"), world=2) == 5 * 5.0
    )
    assert network.training
    assert len(cases) == 9


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_measuring_the_speed_changes_nothing(optimiser):
    network = tiny_network()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    config = replace(QUICK, optimiser=optimiser)
    recipe = LabelledCases(3, config, toy_cases(), toy_cases(1))
    assert seconds_per_step(network, recipe, config, "cpu", 1) > 0
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in before.items())
    assert all(p.grad is None for p in network.parameters())


def test_samples_that_workers_make_cost_time_only_where_they_fall_behind(monkeypatch):
    now, config = [0.0], replace(QUICK, batch=4, noise_fraction=0.0)

    class Slow:
        def __getitem__(self, number):
            now[0] += 0.5
            return {
                "image": torch.randn(1, *config.window),
                "label": torch.zeros(1, *config.window),
            }

    recipe = LabelledCases(2, config, toy_cases(1), toy_cases(1))
    recipe.samples = Slow()
    monkeypatch.setattr(unit.time, "monotonic", lambda: now[0])

    def measure(workers, world=1):
        settings = replace(config, workers=workers)
        return seconds_per_step(OneWeight(), recipe, settings, "cpu", world, 1)

    assert measure(0) == 2.0
    assert measure(4) == 0.5
    assert measure(0, world=2) == 1.0


def test_measuring_the_speed_of_a_broken_network_does_not_break_it_further():
    cases = [{**c, "label": np.minimum(c["label"], 1)} for c in toy_cases()]
    broken, config = OneWeight(bad_from=0), replace(QUICK, noise_fraction=0.0)
    recipe = LabelledCases(2, config, cases, cases)
    assert seconds_per_step(broken, recipe, config, "cpu", 1) > 0
    assert torch.equal(broken.weight, torch.ones(1))
