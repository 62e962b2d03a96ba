"""The cost of one image is measured, and the network stays as it was."""

import pytest
import torch

from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.networks.cost import measure_cost
from Testing.helpers.tiny_pneumollm import tiny_language_model
from Testing.helpers.tiny_pneumollm import tiny_pneumollm as build


@pytest.fixture(scope="module")
def llm():
    return tiny_language_model()


@pytest.fixture
def batch():
    return {"image": torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(3))}


def test_the_cost_of_an_image_is_measured_and_leaves_the_network_as_it_was(llm, batch):
    network = build(llm).eval()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    state = torch.get_rng_state()
    cost = measure_cost(network, batch, repeats=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert not network.training
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    counts = count_parameters(network)
    assert (cost.trained, cost.frozen) == (counts["trained"], counts["frozen"])
    assert cost.weights_mb == pytest.approx(
        sum(t.numel() * t.element_size() for t in before.values()) / 1e6
    )
    assert 0 < cost.ms < cost.training_ms
    larger = measure_cost(network, {"image": torch.randn(2, 1, 64, 64)}, repeats=1)
    # Four times the pixels; the tokens stay as they are.
    assert 2 < larger.activations_mb / cost.activations_mb < 4.5
    assert f"{cost.trained:,} trained" in str(cost)
