"""A training that begins with another model's weights: which fit, and what kernels of another
size still answer.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.network_config import OURS, PAPER_VIT
from MedLLMSegLib.training.segmenter.transfer import fill_from, fit_kernel

SMALL = replace(
    OURS,
    llm=None,
    stem_channels=(8, 8, 16),
    width=48,
    heads=4,
    depth=1,
    strides=((2, 2, 2),) * 3,
    deep_supervision=True,
)
THICK = replace(SMALL, strides=((1, 2, 2), (2, 2, 2), (1, 2, 2)), classes=5)
VIT = replace(PAPER_VIT, depth=1, grid=(4, 4, 4))


@pytest.mark.parametrize("before, now", ((3, 1), (1, 3), (3, 2)))
def test_what_is_constant_across_slices_gets_the_same_answer(before, now):
    torch.manual_seed(0)
    kernel, flat = (
        torch.randn(6, 4, before, 3, 3),
        torch.randn(1, 4, 1, 9, 9).expand(-1, -1, 8, -1, -1),
    )
    fitted = fit_kernel(kernel, (now, 3, 3), upward=False)
    assert fitted.shape == (6, 4, now, 3, 3)
    a, b = (nn.functional.conv3d(flat, weight)[:, :, 0] for weight in (kernel, fitted))
    assert a.std() > 1
    assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("before, now", ((2, 1), (1, 2)))
def test_so_it_does_on_the_way_up(before, now):
    torch.manual_seed(0)
    kernel, flat = (
        torch.randn(4, 6, before, 2, 2),
        torch.randn(1, 4, 1, 5, 5).expand(-1, -1, 4, -1, -1),
    )
    fitted = fit_kernel(kernel, (now, 2, 2), upward=True)
    a, b = (
        nn.functional.conv_transpose3d(flat, weight, stride=weight.shape[2:])
        for weight in (kernel, fitted)
    )
    assert fitted.shape == (4, 6, now, 2, 2)
    assert a.shape[2] == 4 * before
    assert b.shape[2] == 4 * now
    assert a.std() > 1
    assert torch.allclose(a.mean(2), b.mean(2), atol=1e-5)


def test_a_kernel_that_fits_is_not_touched():
    kernel = torch.randn(4, 4, 3, 3, 3)
    assert fit_kernel(kernel, (3, 3, 3), upward=False) is kernel


@pytest.mark.parametrize(
    "before, now",
    (
        (SMALL, THICK),
        (THICK, SMALL),
        (SMALL, replace(SMALL, classes=5)),
        (VIT, replace(VIT, classes=5)),
    ),
)
def test_all_but_the_heads_begin_where_the_model_ended(before, now):
    torch.manual_seed(1)
    tensors = {
        name: tensor + torch.randn_like(tensor)
        for name, tensor in trained_tensors(build_network(before)).items()
    }
    network = build_network(now)
    new = {name: tensor.clone() for name, tensor in trained_tensors(network).items()}
    fill_from(network, tensors)
    kept = {
        name for name, tensor in trained_tensors(network).items() if torch.equal(tensor, new[name])
    }
    assert kept, kept
    assert all("head" in name or name.startswith("decoder.project") for name in kept), kept
    same = [name for name in set(new) - kept if new[name].shape == tensors[name].shape]
    assert len(same) > 10
    assert all(torch.equal(network.state_dict()[name], tensors[name]) for name in same)


def test_weights_of_another_width_stay_new():
    network = build_network(SMALL)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fill_from(
        network,
        {name: torch.ones(*(n + 1 for n in tensor.shape)) for name, tensor in before.items()},
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
