"""Progress is told within a pass, and may end it."""

import pytest
import torch
from torch import nn

from MedLLMSegLib.segmentation.layer_progress import before_layers, layer_progress


def network():
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), nn.ReLU())


def test_each_layer_is_a_step_and_nothing_stays_behind():
    seen, made = [], network()
    with layer_progress(made, seen.append):
        made(torch.ones(1, 2))
        made(torch.ones(1, 2))
    assert seen == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]
    made(torch.ones(1, 2))
    assert len(seen) == 8


def test_what_the_report_raises_ends_the_pass():
    made = network()

    def cancel(done):
        if done >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), layer_progress(made, cancel):
        made(torch.ones(1, 2))
    made(torch.ones(1, 2))  # the hooks are gone


def test_another_network_that_runs_meanwhile_is_not_counted():
    seen, made, other = [], network(), nn.Linear(2, 2)
    with layer_progress(made, seen.append):
        other(torch.ones(1, 2))
        assert seen == []
        made(torch.ones(1, 2))
    assert len(seen) == 4


def test_every_layer_of_any_network_is_told_of_before_it_runs():
    told = []
    with before_layers(told.append):
        nn.Linear(2, 2)(torch.ones(1, 2))
        network()(torch.ones(1, 2))
    assert sum(isinstance(layer, nn.Linear) for layer in told) == 3
    network()(torch.ones(1, 2))
    assert sum(isinstance(layer, nn.Linear) for layer in told) == 3
