"""PneumoLLM: information flows from the image to the diagnosis and never back, what is frozen
stays so, what is not trains.
"""

from dataclasses import replace

import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.block import LlamaBlock
from MedLLMSegLib.llm.frozen_weights import frozen_bytes, trained_tensors
from MedLLMSegLib.llm.llama import LlamaConfig, LlamaWeights, tensor_shapes
from MedLLMSegLib.networks.classification.build_classifier import (
    build_classifier,
    load_classifier,
    stored_tensors,
)
from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.networks.cost import measure_cost
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, EncoderConfig, PneumoLLMConfig
from MedLLMSegLib.registry.network_config import LLMConfig

PART = PneumoLLMConfig(projector_width=16, llm=LLMConfig(layers=(0, 1), rotary=True))
CONFIG = ClassifierConfig(encoder=EncoderConfig("cnn", image_size=32, width=24), pneumollm=PART)


@pytest.fixture(scope="module")
def llm():
    """A tiny language model of two random layers."""
    config = LlamaConfig(
        hidden_size=24,
        intermediate_size=40,
        num_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        num_layers=2,
    )
    generator = torch.Generator().manual_seed(5)
    layers = {
        n: {
            name: torch.randn(shape, generator=generator) * 0.3
            for name, shape in tensor_shapes(config).items()
        }
        for n in range(2)
    }
    return LlamaWeights(config, layers, "random", "")


@pytest.fixture
def batch():
    return {"image": torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(3))}


def build(weights, seed=0, kind="pneumollm", **changes):
    torch.manual_seed(seed)
    part = replace(PART, **changes)
    return build_classifier(
        replace(CONFIG, kind=kind, pneumollm=part if kind == "pneumollm" else None),
        weights if part.llm else None,
    )


def stir(network):
    """Every trained tensor random: what begins at zero would hide mistakes."""
    torch.manual_seed(9)
    with torch.no_grad():
        for p in network.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * 0.3)
    return network.eval()


# --- the information emitter
# -----------------------------------------------------------------------------------------


def last(network, source, diagnosis):
    out = network.last_tokens(source, diagnosis)
    return out[:, : source.shape[1]], out[:, source.shape[1] :]


def test_source_tokens_do_not_change_when_diagnosis_tokens_do(llm):
    network, source = stir(build(llm)), torch.randn(2, 4, 24)
    first, second = (last(network, source, torch.randn(2, 4, 24)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and not torch.allclose(first[1], second[1], atol=1e-3)


def test_diagnosis_tokens_see_the_source(llm):
    network, diagnosis = stir(build(llm)), torch.randn(2, 4, 24)
    first, second = (last(network, torch.randn(2, 4, 24), diagnosis) for _ in range(2))
    assert (first[1] - second[1]).abs().amax(dim=(0, 2)).min() > 1e-3  # each of them


def test_a_diagnosis_token_does_not_see_another(llm):
    network, source, diagnosis = stir(build(llm)), torch.randn(2, 4, 24), torch.randn(2, 4, 24)
    changed = diagnosis.clone()
    changed[:, 1] += 1
    first, second = last(network, source, diagnosis)[1], last(network, source, changed)[1]
    assert torch.equal(first[:, [0, 2, 3]], second[:, [0, 2, 3]]) and not torch.equal(
        first[:, 1], second[:, 1]
    )


def test_without_the_emitter_everything_sees_everything(llm):
    network, source = stir(build(llm, emitter=False)), torch.randn(2, 4, 24)
    first, second = (last(network, source, torch.randn(2, 4, 24)) for _ in range(2))
    assert not torch.allclose(first[0], second[0], atol=1e-3)


@pytest.mark.parametrize("rotary", (True, False))
def test_a_causal_mask_is_the_blocks_causal(llm, rotary):
    block, x = LlamaBlock.from_weights(llm, 0), torch.randn(2, 5, 24)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(
        block(x, rotary=rotary, mask=mask), block(x, causal=True, rotary=rotary)
    )


# --- the token engine
# ------------------------------------------------------------------------------------------------


def step(network, batch):
    """One step of training; the tensors before it."""
    before = {name: t.clone() for name, t in network.state_dict().items()}
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    torch.nn.functional.cross_entropy(network.train()(batch), torch.tensor([0, 1, 0, 1])).backward()
    optimiser.step()
    return before


def test_the_token_engine_is_trained(llm, batch):
    network = stir(build(llm))
    before = step(network, batch)
    for name, p in network.engine.named_parameters():
        assert p.grad.abs().sum() > 0 and not torch.equal(p, before[f"engine.{name}"]), name


def test_diagnosis_tokens_are_mixtures_that_the_source_chooses(llm):
    engine, source = stir(build(llm)).engine, torch.randn(3, 5, 24)
    tokens = engine(source)
    assert tokens.shape == (3, 4, 24)
    scores = engine.w2(torch.relu(engine.w1(source)))  # (B, S, K)
    expected = torch.stack(
        [
            sum(scores[:, :, k].softmax(1)[:, s, None] * source[:, s] for s in range(5))
            for k in range(4)
        ],
        1,
    )
    torch.testing.assert_close(tokens, expected)
    torch.testing.assert_close(engine(source.flip(1)), tokens)  # a mixture has no order
    assert not torch.allclose(tokens[:, 0], tokens[:, 1])  # K different ones


# --- each part can be switched off
# -----------------------------------------------------------------------------------

OFF = {
    "token engine": (dict(token_engine=False), "engine.w1.weight"),
    "adapters": (dict(adapters=False), "llm.adapters.0.up.weight"),
    "language model": (dict(llm=None), "llm.layers.0.mlp.up_proj.weight"),
}


@pytest.mark.parametrize("name", OFF)
def test_a_part_that_is_switched_off_is_gone_and_the_rest_trains(name, llm, batch):
    changes, tensor = OFF[name]
    assert tensor in build(llm).state_dict()
    network = build(llm, **changes)
    assert tensor not in network.state_dict()
    before = step(network, batch)
    assert not torch.equal(before["head.weight"], network.head.weight)
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_without_the_engine_diagnosis_tokens_are_the_same_for_every_image(llm):
    engine = build(llm, token_engine=False).engine
    assert torch.equal(*(engine(torch.randn(2, 4, 24)) for _ in range(2)))


@pytest.mark.parametrize("tokens", (1, 2, 8))
def test_any_number_of_diagnosis_tokens(tokens, llm, batch):
    network = build(llm, tokens=tokens).eval()
    assert (
        network(batch).shape == (4, 2) and network.engine(torch.randn(1, 4, 24)).shape[1] == tokens
    )


def test_adapters_begin_as_if_they_were_not_there(llm, batch):
    with_, without = build(llm).eval(), build(llm, adapters=False).eval()
    own = with_.state_dict()
    without.load_state_dict({name: own[name] for name in without.state_dict()}, strict=True)
    assert torch.equal(with_(batch), without(batch))
    assert not torch.allclose(stir(with_)(batch), without(batch))


def test_depth_and_order_of_the_layers(llm, batch):
    outs = []
    for layers in ((0,), (-1,), (1,), (0, 1), (1, 0), (0, 1, 0, 1)):
        network = build(llm, llm=LLMConfig(layers=layers, rotary=True)).eval()
        assert len(network.llm.layers) == len(layers)
        outs.append(network(batch))
    assert torch.equal(outs[1], outs[2])
    assert len({tuple(o.flatten().tolist()) for o in outs}) == 5


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
    assert network(batch).shape == (4, 2) and network.head.in_features == 48


def test_the_shipped_layer_is_the_default(batch):
    torch.manual_seed(0)
    network = build_classifier(
        ClassifierConfig(encoder=CONFIG.encoder, pneumollm=PneumoLLMConfig())
    )
    assert network(batch).shape == (4, 2) and network.head.in_features == 576
    assert count_parameters(network)["frozen"] == 3_540_096


# --- what is frozen
# --------------------------------------------------------------------------------------------------


def test_frozen_layers_have_no_gradient_state_and_never_change(llm, batch):
    network = build(llm)
    before = frozen_bytes(network)
    changed = step(network, batch)
    assert (
        len(before) == 4 * sum(p.numel() for p in network.llm.layers.parameters())
        and frozen_bytes(network) == before
    )
    assert all(p.grad is None and not p.requires_grad for p in network.llm.layers.parameters())
    assert (
        not any(m.training for m in network.llm.layers.modules()) and network.llm.adapters.training
    )
    assert not any(name.startswith("llm.layers.") for name in trained_tensors(network))
    for name, p in network.named_parameters():
        if p.requires_grad:
            assert (
                not torch.equal(p, changed[name])
                or name.endswith("down.weight")
                or name.endswith("down.bias")
            ), name


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


# --- storing
# ---------------------------------------------------------------------------------------------------------


def test_a_classifier_comes_back_from_what_is_stored(llm, batch):
    network = stir(build(llm))
    network.train()(batch)  # batch norm's memory is stored too
    tensors = stored_tensors(network.eval())
    assert any(name.startswith("encoder.") for name in tensors) and not any(
        name.startswith("llm.layers") for name in tensors
    )
    again = load_classifier(network.config, tensors, llm)
    assert torch.equal(again(batch), network(batch)) and not again.training
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


@pytest.mark.parametrize("kind", ("pneumollm", "linear", "mlp"))
def test_logits_are_the_head_on_the_features_and_tokens_may_be_kept(kind, llm, batch):
    network = build(llm, kind=kind).eval()
    tokens = network.encode(batch)
    assert torch.equal(network.classify(tokens, {}), network(batch))
    assert torch.equal(network.head(network.features(batch)), network(batch))
    assert network(batch).shape == (4, 2) and network.cam_layer is network.encoder.cam_layer


def test_the_linear_probe_is_linear_in_standardised_tokens(llm, batch):
    network = build(llm, kind="linear").eval()
    a, b = torch.randn(2, 1, 4, 128)
    middle = network.classify((a + b) / 2, {})
    torch.testing.assert_close(middle, (network.classify(a, {}) + network.classify(b, {})) / 2)
    features = network.train().features({"image": torch.randn(16, 1, 32, 32) * 7 + 3})
    torch.testing.assert_close(features.mean(0), torch.zeros(240), atol=1e-4, rtol=0)
    alone = network.train().classify(a[:1], {})  # the last batch of an epoch may hold one case
    torch.testing.assert_close(alone, network.eval().classify(a[:1], {}))


# --- cost
# ------------------------------------------------------------------------------------------------------------


def test_the_cost_of_an_image_is_measured_and_leaves_the_network_as_it_was(llm, batch):
    network = build(llm).eval()
    before, state = (
        {name: t.clone() for name, t in network.state_dict().items()},
        torch.get_rng_state(),
    )
    cost = measure_cost(network, batch, repeats=1)
    assert torch.equal(torch.get_rng_state(), state) and not network.training
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    counts = count_parameters(network)
    assert (cost.trained, cost.frozen) == (counts["trained"], counts["frozen"])
    assert cost.weights_mb == pytest.approx(
        sum(t.numel() * t.element_size() for t in before.values()) / 1e6
    )
    assert 0 < cost.ms < cost.training_ms
    larger = measure_cost(network, {"image": torch.randn(2, 1, 64, 64)}, repeats=1)
    assert (
        2 < larger.activations_mb / cost.activations_mb < 4.5
    )  # four times the pixels; the tokens stay as they are
    assert f"{cost.trained:,} trained" in str(cost)
