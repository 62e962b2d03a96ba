"""A classifier has the layers that its configuration names, and comes back from what is stored."""

import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.networks.classification.build_classifier import (
    build_classifier,
    load_classifier,
    stored_tensors,
)
from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, PneumoLLMConfig
from MedLLMSegLib.registry.network_config import LLMConfig
from Testing.helpers.tiny_pneumollm import CONFIG, stir, tiny_language_model
from Testing.helpers.tiny_pneumollm import tiny_pneumollm as build


@pytest.fixture(scope="module")
def llm():
    return tiny_language_model()


@pytest.fixture
def batch():
    return {"image": torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(3))}


def test_any_llama_family_source(tmp_path, batch):
    transformers = pytest.importorskip("transformers")
    transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=50,
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=64,
        )
    ).save_pretrained(tmp_path)
    network = build(None, llm=LLMConfig(source=str(tmp_path), layers=(0, 1, 2), rotary=True))
    assert network(batch).shape == (4, 2)
    assert network.head.in_features == 48


def test_the_shipped_layer_is_the_default(batch):
    torch.manual_seed(0)
    network = build_classifier(
        ClassifierConfig(encoder=CONFIG.encoder, pneumollm=PneumoLLMConfig())
    )
    assert network(batch).shape == (4, 2)
    assert network.head.in_features == 576
    assert count_parameters(network)["frozen"] == 3_540_096


def test_random_weights_have_the_norms_of_the_pretrained_and_come_again_with_their_seed(llm):
    real, random, same, other = (
        build(llm, **c).llm.layers.state_dict()
        for c in (
            {},
            dict(llm_weights="random"),
            dict(llm_weights="random"),
            dict(llm_weights="random", llm_seed=1),
        )
    )
    for name, t in real.items():
        assert torch.equal(random[name], same[name])
        torch.testing.assert_close(random[name].norm(), t.norm())
        if t.ndim > 1:
            assert (
                abs(torch.corrcoef(torch.stack([t.flatten(), random[name].flatten()]))[0, 1]) < 0.3
            )
            assert not torch.equal(random[name], other[name])


def test_a_classifier_comes_back_from_what_is_stored(llm, batch):
    network = stir(build(llm))
    network.train()(batch)  # batch norm's memory is stored too
    tensors = stored_tensors(network.eval())
    assert any(name.startswith("encoder.") for name in tensors)
    assert not any(name.startswith("llm.layers") for name in tensors)
    again = load_classifier(network.config, tensors, llm)
    assert torch.equal(again(batch), network(batch))
    assert not again.training
    half = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    torch.testing.assert_close(
        load_classifier(network.config, half, llm)(batch), network(batch), atol=0.05, rtol=0.05
    )
    for wrong in (
        {name: t for name, t in tensors.items() if name != "head.weight"},
        tensors | {"more": torch.zeros(1)},
        tensors | {"head.weight": torch.zeros(3, 24)},
    ):
        with pytest.raises(UserError, match="do not fit its configuration"):
            load_classifier(network.config, wrong, llm)
