"""A network is built no larger than its weights."""

import pytest
import torch
from torch import nn

from MedLLMSegLib.networks.parameter_limit import SPARE_VALUES, parameter_limit


def test_a_network_of_the_size_of_its_weights_is_built():
    with parameter_limit({"weight": torch.zeros(2000, 2000)}):
        nn.Linear(2000, 2000)


def test_one_layer_or_many_layers_too_many_are_refused():
    with pytest.raises(ValueError, match="more than"), parameter_limit({}):
        nn.Linear(2000, 2000)
    with pytest.raises(ValueError, match="more than"), parameter_limit({}):
        nn.ModuleList(nn.Linear(100, 100) for _ in range(10**9))


def test_parameters_that_are_replaced_count_once():
    """As the frozen block's, which are made without memory and then assigned."""
    with parameter_limit({}):
        layer = nn.Linear(900, 900, bias=False)
        assert 2 * layer.weight.numel() > SPARE_VALUES
        layer.weight = nn.Parameter(torch.zeros(900, 900))


def test_outside_nothing_is_limited():
    with parameter_limit({}):
        pass
    nn.Linear(2000, 2000)
