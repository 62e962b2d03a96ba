"""The arms of the benchmark differ in what they say they differ in, and in nothing else."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.controls import ARMS, arm_config, build_arm, count_parameters
from MedLLMSegLib.registry.network_config import OURS, PAPER

SMALL = replace(OURS, stem_channels=(8, 8, 16), width=48, heads=4, depth=2)
SMALL_PAPER = replace(PAPER, depth=2, grid=(4, 4, 4))
# The others must be fetched first.
LAYER_29_ONLY = [arm for arm in ARMS if arm not in ("J", "H-layer0", "H-layer12")]


@pytest.fixture(scope="module")
def llm():
    return resolve("smollm2-135m", (29,))


@pytest.fixture(scope="module")
def arms(llm):
    return {arm: build(arm, llm) for arm in LAYER_29_ONLY}


def build(arm, llm, seed=0, config=SMALL):
    return build_arm(config, arm, llm if arm_config(config, arm).llm else None, seed)


def block(network):
    return dict(network.llm.llm.named_parameters())


def test_every_arm_trains_and_gives_logits_of_the_images_size(arms):
    image = torch.randn(1, 1, 16, 16, 16)
    for arm, network in arms.items():
        logits = network.train()(image)
        assert logits.shape == (1, 3, 16, 16, 16), arm
        logits.square().mean().backward()
        assert all(
            torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None
        ), arm


def test_a_has_no_block_and_differs_from_f_by_the_blocks_parameters_alone(arms):
    assert arms["A"].llm is None
    mappers = sum(
        p.numel() for n, p in arms["F"].llm.named_parameters() if not n.startswith("llm.")
    )
    assert (
        count_parameters(arms["F"])["trained"] - count_parameters(arms["A"])["trained"] == mappers
    )
    assert count_parameters(arms["F"])["frozen"] == 3_540_096
    assert count_parameters(arms["A"])["frozen"] == 0


@pytest.mark.parametrize("config", (SMALL, SMALL_PAPER), ids=("ours", "paper"))
def test_c_trains_as_many_numbers_as_f(config, llm):
    c, f = (count_parameters(build(arm, llm, config=config)) for arm in "CF")
    assert c["frozen"] == 0
    assert abs(c["trained"] / f["trained"] - 1) < 0.01
    bare = count_parameters(build("A", llm, config=config))["trained"]
    assert abs((c["trained"] - bare) / (f["trained"] - bare) - 1) < 0.01


def test_c_is_not_linear_and_b_is(arms):
    hidden = torch.randn(1, 4, 576)
    assert len(arms["B"].llm.llm) == 0
    (activation,) = arms["C"].llm.llm
    assert not torch.allclose(activation(2 * hidden), 2 * activation(hidden))


@pytest.mark.parametrize("arm", ["D", "E", "F", "I", "H-head", "H-middle"])
def test_frozen_blocks_get_no_gradient_and_are_not_stored(arms, arm):
    network = arms[arm].train()
    network.zero_grad()
    # It starts at zero, and would let nothing through.
    torch.nn.init.normal_(network.llm.out.weight, std=0.1)
    network(torch.randn(1, 1, 16, 16, 16)).square().mean().backward()
    assert all(p.grad is None and not p.requires_grad for p in block(network).values())
    assert network.llm.into.weight.grad.abs().max() > 0
    assert not [name for name in trained_tensors(network) if name.startswith("llm.llm.")]
    torch.nn.init.zeros_(network.llm.out.weight)


def test_d_is_random_with_the_norms_of_the_pretrained_block(arms):
    pretrained = block(arms["F"])
    random = block(arms["D"])
    for name, tensor in random.items():
        assert tensor.norm() == pytest.approx(pretrained[name].norm().item(), rel=1e-4), name
        assert not torch.allclose(tensor, pretrained[name], rtol=0.1), name
        if tensor.ndim == 2:
            both = torch.stack((tensor.flatten(), pretrained[name].flatten()))
            assert torch.corrcoef(both)[0, 1].abs() < 0.02, name
        else:
            assert (tensor == tensor[0]).all()
            assert tensor[0] > 0


def test_e_holds_the_pretrained_values_in_another_order(arms):
    pretrained = block(arms["F"])
    shuffled = block(arms["E"])
    for name, tensor in shuffled.items():
        assert torch.equal(
            tensor.flatten().sort().values, pretrained[name].flatten().sort().values
        ), name
        assert not torch.equal(tensor, pretrained[name]), name


def test_g_trains_its_block_and_costs_what_f_costs(arms):
    assert count_parameters(arms["G"])["trained"] == sum(count_parameters(arms["F"]).values())
    flops = {}
    for arm in "FG":
        with FlopCounterMode(display=False) as counter:
            arms[arm].eval()(torch.randn(1, 1, 16, 16, 16))
        flops[arm] = counter.get_total_flops()
    assert flops["F"] == flops["G"] > 0


def test_i_has_the_block_in_training_and_not_at_inference(arms):
    networks = {arm: arms[arm] for arm in "AFI"}
    image = torch.randn(1, 1, 16, 16, 16)
    saved = arms["F"].llm.out.weight.detach().clone()
    for arm in "FI":
        torch.nn.init.normal_(
            networks[arm].llm.out.weight, std=0.5, generator=torch.Generator().manual_seed(5)
        )
    with torch.no_grad():
        trained = {arm: n.train()(image) for arm, n in networks.items()}
        used = {arm: n.eval()(image) for arm, n in networks.items()}
    assert torch.allclose(trained["I"], trained["F"])
    assert not torch.allclose(trained["I"], trained["A"])
    assert torch.allclose(used["I"], used["A"])
    assert not torch.allclose(used["F"], used["A"])
    for arm in "FI":
        networks[arm].llm.out.weight.data.copy_(saved)


def test_positions_and_ablations_are_where_they_should_be(arms):
    assert [arms[a].llm_after for a in ("H-head", "H-middle", "H-tail")] == [0, 1, 2]
    assert arms["F-nofusion"].fusion is None
    assert arms["F-nofusion"].llm is not None
    assert arms["F-nolocal"].blocks[0].attention.local is None
    assert arms["F-nolocal"].fusion is not None
    assert arm_config(SMALL, "H-layer12").llm.layers == (12,)


def test_the_same_seed_gives_every_arm_the_same_beginning(arms, llm):
    first = arms["A"].state_dict()
    for arm, network in arms.items():
        own = network.state_dict()
        common = [n for n in first if n in own]
        assert all(torch.equal(first[n], own[n]) for n in common), arm
        if arm not in ("F-nolocal", "F-nofusion"):
            assert len(common) == len(first), arm
        if arm != "A":
            assert torch.equal(own["llm.into.weight"], arms["F"].llm.into.weight), arm
    image = torch.randn(1, 1, 16, 16, 16)
    # The block's last projection begins at zero, so all begin as the same function.
    with torch.no_grad():
        outputs = [arms[a].eval()(image) for a in "ABCDEFGI"]
    assert all(torch.allclose(o, outputs[0], atol=1e-6) for o in outputs)
    again = build("D", llm)
    other = build("D", llm, seed=1)
    first_d = arms["D"].state_dict()
    assert all(torch.equal(tensor, first_d[name]) for name, tensor in again.state_dict().items())
    assert not torch.equal(
        other.llm.llm[0].mlp.up_proj.weight, arms["D"].llm.llm[0].mlp.up_proj.weight
    )
    assert not torch.equal(other.blocks[0].mlp[0].weight, arms["D"].blocks[0].mlp[0].weight)


def test_building_an_arm_leaves_the_global_random_state_alone(llm):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build("D", llm)
    assert torch.equal(torch.rand(1), expected)


def test_arms_that_do_not_exist_are_refused():
    for arm in ("Z", "J", "H-nowhere"):
        with pytest.raises(UserError, match=arm):
            arm_config(SMALL, arm)
    with pytest.raises(UserError, match="no language-model block"):
        arm_config(replace(SMALL, llm=None), "F")
