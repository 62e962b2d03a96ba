"""A silenced part has no say, no other is changed, and afterwards the network is what it was."""

from dataclasses import replace

import pytest
import torch

from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.ablation import ABLATIONS, silenced, why_not
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.network_config import BRAIN, OURS, PAPER

TINY = replace(OURS, stem_channels=(4, 8, 8), width=24, heads=2, depth=1)
TINY_BRAIN = replace(BRAIN, classes=5, stem_channels=(4, 6, 8, 8), width=24, depth=1, heads=2)
IMAGE = torch.randn(1, 1, 16, 24, 16, generator=torch.Generator().manual_seed(1))


def network_of(config, **more):
    """Random weights everywhere, so that no part is silent of itself."""
    config = replace(config, **more)
    torch.manual_seed(2)
    network = build_network(config, resolve("smollm2-135m", (29,)) if config.llm else None).eval()
    with torch.no_grad():
        for p in network.parameters():
            if p.requires_grad and not p.any():
                p.normal_(0, 0.3)
    return network


def logits(network):
    with torch.inference_mode():
        return network(IMAGE)


def with_other_transformer(network):
    """Change every weight between the stem and the decoder."""
    with torch.no_grad():
        for part in (network.blocks, network.norm, network.fusion, network.llm.into):
            for p in part.parameters() if part is not None else ():
                p.normal_(0, 0.5)
    return network


@pytest.mark.parametrize("config", [TINY, replace(TINY, fusion=False), TINY_BRAIN])
def test_without_tokens_the_decoder_sees_the_skips_alone(config):
    network = network_of(config)
    whole = logits(network)
    with silenced(network, "no_tokens"):
        silent = logits(network)
        slabs = torch.cat(list(network.logit_slabs(IMAGE)), 2)
        deepest, skips = network.look(IMAGE)
    assert not torch.equal(silent, whole)
    assert torch.allclose(slabs, silent, atol=1e-5)
    assert not deepest.any()
    assert all(skip.any() for skip in skips)
    with silenced(with_other_transformer(network), "no_tokens"):
        assert torch.equal(logits(network), silent)


@pytest.mark.parametrize("position", ["head", "middle", "tail"])
def test_without_the_language_model_the_network_is_the_one_that_never_had_it(position):
    network = network_of(TINY, depth=2, llm=replace(TINY.llm, position=position))
    plain = network_of(TINY, depth=2, llm=None)
    plain.load_state_dict(
        {k: v for k, v in network.state_dict().items() if not k.startswith("llm.")}
    )
    assert not torch.allclose(logits(network), logits(plain), atol=1e-3)
    with silenced(network, "no_language_model"):
        assert torch.equal(logits(network), logits(plain))


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_afterwards_the_network_is_as_before_even_where_the_work_failed(ablation):
    network = network_of(TINY)
    before, state = logits(network), {k: v.clone() for k, v in network.state_dict().items()}
    with silenced(network, ablation):
        logits(network)
    assert torch.equal(logits(network), before)
    with pytest.raises(RuntimeError, match="cancelled"), silenced(network, ablation):
        raise RuntimeError("cancelled")
    assert torch.equal(logits(network), before)
    assert all(torch.equal(tensor, state[k]) for k, tensor in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.modules())


def test_a_part_that_is_not_there_is_named():
    assert why_not(network_of(TINY), "no_tokens") == ""
    assert "no language-model block" in why_not(network_of(TINY, llm=None), "no_language_model")
    idle = network_of(TINY, llm=replace(TINY.llm, training_only=True))
    assert "after training" in why_not(idle, "no_language_model")
    paper = network_of(PAPER, width=24, heads=2, depth=1, llm=None)
    assert "through its tokens alone" in why_not(paper, "no_tokens")
    assert "no transformer" in why_not(network_of(TINY_BRAIN, llm=None, depth=0), "no_tokens")
    assert "no tokens" in why_not(torch.nn.Conv3d(1, 2, 1), "no_tokens")
    with (
        pytest.raises(ValueError, match="no language-model block"),
        silenced(network_of(TINY, llm=None), "no_language_model"),
    ):
        pass
