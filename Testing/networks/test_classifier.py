"""What all classifiers do, and the linear probe."""

import pytest
import torch

from Testing.helpers.tiny_pneumollm import tiny_language_model
from Testing.helpers.tiny_pneumollm import tiny_pneumollm as build


@pytest.fixture(scope="module")
def llm():
    return tiny_language_model()


@pytest.fixture
def batch():
    return {"image": torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(3))}


@pytest.mark.parametrize("kind", ("pneumollm", "linear", "mlp"))
def test_logits_are_the_head_on_the_features_and_tokens_may_be_kept(kind, llm, batch):
    network = build(llm, kind=kind).eval()
    tokens = network.encode(batch)
    assert torch.equal(network.classify(tokens, {}), network(batch))
    assert torch.equal(network.head(network.features(batch)), network(batch))
    assert network(batch).shape == (4, 2)
    assert network.cam_layer is network.encoder.cam_layer


def test_the_linear_probe_is_linear_in_standardised_tokens(llm, batch):
    network = build(llm, kind="linear").eval()
    a, b = torch.randn(2, 1, 4, 128)
    middle = network.classify((a + b) / 2, {})
    torch.testing.assert_close(middle, (network.classify(a, {}) + network.classify(b, {})) / 2)
    features = network.train().features({"image": torch.randn(16, 1, 32, 32) * 7 + 3})
    torch.testing.assert_close(features.mean(0), torch.zeros(240), atol=1e-4, rtol=0)
    alone = network.train().classify(a[:1], {})  # the last batch of an epoch may hold one case
    torch.testing.assert_close(alone, network.eval().classify(a[:1], {}))
