"""PneumoLLM: information flows from the image to the diagnosis and never back, what is frozen
stays so, what is not trains.
"""

import pytest
import torch

from MedLLMSegLib.llm.block import LlamaBlock
from MedLLMSegLib.llm.frozen_weights import frozen_bytes, trained_tensors
from MedLLMSegLib.registry.network_config import LLMConfig
from Testing.helpers.tiny_pneumollm import stir, tiny_language_model
from Testing.helpers.tiny_pneumollm import tiny_pneumollm as build

OFF = {
    "token engine": (dict(token_engine=False), "engine.w1.weight"),
    "adapters": (dict(adapters=False), "llm.adapters.0.up.weight"),
    "language model": (dict(llm=None), "llm.layers.0.mlp.up_proj.weight"),
}


@pytest.fixture(scope="module")
def llm():
    return tiny_language_model()


@pytest.fixture
def batch():
    return {"image": torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(3))}


def last(network, source, diagnosis):
    out = network.last_tokens(source, diagnosis)
    return out[:, : source.shape[1]], out[:, source.shape[1] :]


def test_source_tokens_do_not_change_when_diagnosis_tokens_do(llm):
    network = stir(build(llm))
    source = torch.randn(2, 4, 24)
    first, second = (last(network, source, torch.randn(2, 4, 24)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1], atol=1e-3)


def test_diagnosis_tokens_see_the_source(llm):
    network = stir(build(llm))
    diagnosis = torch.randn(2, 4, 24)
    first, second = (last(network, torch.randn(2, 4, 24), diagnosis) for _ in range(2))
    assert (first[1] - second[1]).abs().amax(dim=(0, 2)).min() > 1e-3  # each of them


def test_a_diagnosis_token_does_not_see_another(llm):
    network = stir(build(llm))
    source = torch.randn(2, 4, 24)
    diagnosis = torch.randn(2, 4, 24)
    changed = diagnosis.clone()
    changed[:, 1] += 1
    first = last(network, source, diagnosis)[1]
    second = last(network, source, changed)[1]
    assert torch.equal(first[:, [0, 2, 3]], second[:, [0, 2, 3]])
    assert not torch.equal(first[:, 1], second[:, 1])


def test_without_the_emitter_everything_sees_everything(llm):
    network = stir(build(llm, emitter=False))
    source = torch.randn(2, 4, 24)
    first, second = (last(network, source, torch.randn(2, 4, 24)) for _ in range(2))
    assert not torch.allclose(first[0], second[0], atol=1e-3)


@pytest.mark.parametrize("rotary", (True, False))
def test_a_causal_mask_is_the_blocks_causal(llm, rotary):
    block = LlamaBlock.from_weights(llm, 0)
    x = torch.randn(2, 5, 24)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(
        block(x, rotary=rotary, mask=mask), block(x, causal=True, rotary=rotary)
    )


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
        assert p.grad.abs().sum() > 0, name
        assert not torch.equal(p, before[f"engine.{name}"]), name


def test_diagnosis_tokens_are_mixtures_that_the_source_chooses(llm):
    engine = stir(build(llm)).engine
    source = torch.randn(3, 5, 24)
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
    assert network(batch).shape == (4, 2)
    assert network.engine(torch.randn(1, 4, 24)).shape[1] == tokens


def test_adapters_begin_as_if_they_were_not_there(llm, batch):
    with_ = build(llm).eval()
    without = build(llm, adapters=False).eval()
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


def test_frozen_layers_have_no_gradient_state_and_never_change(llm, batch):
    network = build(llm)
    before = frozen_bytes(network)
    changed = step(network, batch)
    assert len(before) == 4 * sum(p.numel() for p in network.llm.layers.parameters())
    assert frozen_bytes(network) == before
    assert all(p.grad is None and not p.requires_grad for p in network.llm.layers.parameters())
    assert not any(m.training for m in network.llm.layers.modules())
    assert network.llm.adapters.training
    assert not any(name.startswith("llm.layers.") for name in trained_tensors(network))
    for name, p in network.named_parameters():
        if p.requires_grad:
            assert (
                not torch.equal(p, changed[name])
                or name.endswith("down.weight")
                or name.endswith("down.bias")
            ), name
