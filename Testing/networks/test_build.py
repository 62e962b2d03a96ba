"""MedVisionLlama in its configurations: any size goes in, frozen means frozen, every setting
changes something.
"""

import hashlib
from dataclasses import replace

import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.frozen_weights import frozen_bytes, trained_tensors
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import load_strictly
from MedLLMSegLib.registry.network_config import OURS, PAPER, LLMConfig, NetworkConfig

SMALL = replace(OURS, stem_channels=(8, 8, 16), width=48, heads=4, depth=2)
# Slices 4 times as thick.
THICK = replace(SMALL, strides=((1, 2, 2), (1, 2, 2), (2, 2, 2)), deep_supervision=True)
LINEAR = replace(THICK, decoder="linear", deep_supervision=False)
SMALL_PAPER = replace(PAPER, depth=2, grid=(4, 4, 4))


@pytest.fixture(scope="module")
def llm():
    return resolve("smollm2-135m", (29,))


def build(config, llm):
    torch.manual_seed(0)
    return build_network(config, llm if config.llm else None).eval()


@pytest.mark.parametrize(
    "config",
    (SMALL, SMALL_PAPER, replace(SMALL_PAPER, llm=None), THICK, LINEAR),
    ids=("ours", "paper", "vit", "thick slices", "stem and linear"),
)
@pytest.mark.parametrize("size", ((16, 24, 16), (13, 21, 9), (3, 5, 40)))
def test_any_size_goes_in_and_comes_out(config, size, llm):
    with torch.inference_mode():
        assert build(config, llm)(torch.randn(2, 1, *size)).shape == (2, 3, *size)


# The "network" of two bundles' metadata as they were written before there were strides, the sha256
# of their tensors' names and shapes, and mean, standard deviation and three voxels of the logits of
# `filled`, printed before the change.
OLD = {
    "ours": (
        {
            "in_channels": 1,
            "classes": 3,
            "embedding": "stem",
            "patch_size": 8,
            "stem_channels": [16, 64, 96],
            "width": 192,
            "depth": 4,
            "heads": 6,
            "mlp_ratio": 2.0,
            "position": "rotary",
            "grid": [5, 7, 5],
            "attention": "hybrid",
            "fusion": True,
            "decoder": "conv",
            "dropout": 0.0,
            "llm": {
                "source": "smollm2-135m",
                "layers": [29],
                "position": "tail",
                "training_only": False,
                "frozen": True,
                "normalise": True,
                "rotary": False,
                "causal": False,
            },
        },
        "e9befab34589c06976aa40bef46c224773bb2bb02146f36219e6e30bd60c835a",
        (0.08457, 0.05197, 0.17029, 0.07055, 0.03323),
    ),
    "paper": (
        {
            "in_channels": 1,
            "classes": 3,
            "embedding": "patch",
            "patch_size": 8,
            "stem_channels": [],
            "width": 64,
            "depth": 2,
            "heads": 4,
            "mlp_ratio": 4.0,
            "position": "learned",
            "grid": [4, 4, 4],
            "attention": "global",
            "fusion": False,
            "decoder": "linear",
            "dropout": 0.0,
            "llm": {
                "source": "smollm2-135m",
                "layers": [29],
                "position": "head",
                "training_only": False,
                "frozen": True,
                "normalise": False,
                "rotary": False,
                "causal": False,
            },
        },
        "1c720c01a8c6a92c47a1a6a86c712d03dcb704710b0bd8317bb126c3adf6913a",
        (-0.00019, 0.22497, -0.15275, 0.28299, 0.11527),
    ),
}


def filled(network):
    """Every trained tensor by a formula, so that the output is the same on every computer."""
    for n, (_, tensor) in enumerate(sorted(trained_tensors(network).items())):
        values = torch.sin(torch.arange(tensor.numel(), dtype=torch.float32) * 0.7 + n) * 0.1
        tensor.data.copy_(values.reshape(tensor.shape))
    return network


@pytest.mark.parametrize("name", OLD)
def test_bundles_from_before_there_were_strides_build_the_same_network(name, llm):
    about, shapes_sha256, expected = OLD[name]
    network = filled(build_network(NetworkConfig.from_dict(about), llm).eval())
    shapes = "\n".join(f"{k} {tuple(v.shape)}" for k, v in sorted(trained_tensors(network).items()))
    assert hashlib.sha256(shapes.encode()).hexdigest() == shapes_sha256
    image = torch.sin(torch.arange(13 * 21 * 9, dtype=torch.float32) * 0.37).reshape(
        1, 1, 13, 21, 9
    )
    with torch.inference_mode():
        y = network(image)
    found = (y.mean(), y.std(), y[0, 0, 10, 20, 8], y[0, 1, 5, 5, 5], y[0, 2, 0, 0, 0])
    assert [float(v) for v in found] == pytest.approx(expected, abs=3e-5)


def test_thick_slices_are_halved_later_and_looked_at_one_by_one_until_then(llm):
    assert THICK.patch == (2, 8, 8)
    assert THICK.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3))
    assert SMALL.kernels == ((3, 3, 3),) * 3
    assert replace(THICK, strides=((1, 2, 2), (2, 2, 2), (2, 2, 2))).kernels == (
        (1, 3, 3),
        (1, 3, 3),
        (3, 3, 3),
    )
    assert replace(THICK, strides=((1, 2, 2),) * 3).kernels[-1] == (3, 3, 3)
    network = build(THICK, llm)
    seen = []
    network.embedding.register_forward_hook(lambda _, __, out: seen.extend([out[0], *out[1]]))
    network(torch.randn(1, 1, 6, 32, 24))
    assert [tuple(t.shape[2:]) for t in seen] == [(3, 4, 3), (6, 32, 24), (6, 16, 12), (6, 8, 6)]


def test_deep_supervision_gives_coarser_logits_while_training_alone(llm):
    network = build(THICK, llm)
    image = torch.randn(2, 1, 7, 32, 20)  # padded to 8 x 32 x 24 inside
    logits = network.train()(image)
    assert [tuple(t.shape) for t in logits] == [
        (2, 3, 7, 32, 20),
        (2, 3, 7, 16, 10),
        (2, 3, 7, 8, 5),
    ]
    sum(t.square().mean() for t in logits).backward()
    assert all(head.weight.grad.abs().sum() > 0 for head in network.decoder.coarse_heads)
    assert isinstance(network.eval()(image), torch.Tensor)


def test_a_network_with_deep_supervision_is_stored_whole(llm):
    first = build(THICK, llm)
    second = build_network(THICK, llm).eval()
    assert any("coarse_heads" in name for name in trained_tensors(first))
    load_strictly(second, trained_tensors(first), frozen_prefix="llm.llm.")
    image = torch.randn(1, 1, 6, 16, 16)
    with torch.inference_mode():
        assert torch.equal(first(image), second(image))
    with pytest.raises(UserError, match="do not fit"):
        load_strictly(
            build(replace(THICK, deep_supervision=False), llm),
            trained_tensors(first),
            frozen_prefix="llm.llm.",
        )


def train_three_steps(network):
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    network.train()
    for _ in range(3):
        loss = network(torch.randn(1, 1, 16, 16, 16)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return optimiser


def test_frozen_means_frozen(llm):
    network = build(SMALL, llm)
    frozen = frozen_bytes(network)
    trained = {k: v.clone() for k, v in trained_tensors(network).items()}
    assert len(frozen) == 4 * 3_540_096  # the whole layer, float32
    optimiser = train_three_steps(network)
    assert frozen_bytes(network) == frozen
    assert all(p.grad is None for p in network.llm.llm.parameters())
    held = {id(p) for group in optimiser.param_groups for p in group["params"]} | {
        id(p) for p in optimiser.state
    }
    assert not held & {id(p) for p in network.llm.llm.parameters()}
    changed = [k for k, v in trained_tensors(network).items() if not torch.equal(v, trained[k])]
    assert any(k.startswith("llm.into") for k in changed)
    assert any(k.startswith("llm.out") for k in changed)


def test_unfrozen_means_trained(llm):
    network = build(replace(SMALL, llm=LLMConfig(frozen=False)), llm)
    before = network.llm.llm[0].mlp.down_proj.weight.clone()
    train_three_steps(network)
    assert not torch.equal(network.llm.llm[0].mlp.down_proj.weight, before)
    assert any(k.startswith("llm.llm") for k in trained_tensors(network))


def test_the_block_starts_as_if_it_were_not_there_and_then_matters(llm):
    network = build(SMALL, llm)
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        with_block = network(image)
        block, network.llm = network.llm, None
        assert torch.equal(with_block, network(image))
        network.llm = block
        torch.nn.init.normal_(block.out.weight, std=0.1)
        assert not torch.allclose(with_block, network(image), atol=1e-3)


@pytest.mark.parametrize("position, after", (("head", 0), ("middle", 1), ("tail", 2)))
def test_the_block_stands_where_it_is_told(position, after, llm):
    network = build(replace(SMALL, llm=LLMConfig(position=position)), llm)
    order = []
    for n, block in enumerate(network.blocks):
        block.register_forward_hook(lambda *_, n=n: order.append(n))
    network.llm.register_forward_hook(lambda *_: order.append("llm"))
    network(torch.randn(1, 1, 8, 8, 8))
    assert order.index("llm") == after


def test_training_only_leaves_the_block_out_of_inference(llm):
    network = build(replace(SMALL, llm=LLMConfig(training_only=True)), llm)
    torch.nn.init.normal_(network.llm.out.weight)
    calls = []
    network.llm.llm[0].register_forward_hook(lambda *_: calls.append(1))
    network.eval()(torch.randn(1, 1, 8, 8, 8))
    assert not calls
    network.train()(torch.randn(1, 1, 16, 16, 16))
    assert calls
    assert not network.llm.llm.training


def test_layers_and_configuration_must_match(llm):
    with pytest.raises(UserError):
        build_network(SMALL, None)
    with pytest.raises(UserError):
        build_network(replace(SMALL, llm=None), llm)


def test_learned_positions_are_interpolated_to_other_grids(llm):
    network = build(SMALL_PAPER, llm)
    tokens = torch.zeros(1, 64, 7, 5, 6)
    assert network.position(tokens).shape == tokens.shape
    assert network.position(tokens).abs().max() > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT TESTED: no CUDA on this computer")
def test_cuda_agrees_with_the_cpu(llm):
    network = build(SMALL, llm)
    image = torch.randn(1, 1, 24, 32, 24)
    with torch.inference_mode():
        expected = network(image)
        assert torch.allclose(network.cuda()(image.cuda()).cpu(), expected, atol=5e-2)
