"""The U-Net with residual units and attention gates, and the networks that take fixed sizes."""

import pytest
import torch

from MedLLMSegLib.networks.segmentation.fixed_size import swin_unetr, unetr
from MedLLMSegLib.networks.segmentation.gated_unet import GatedResidualUNet

pytest.importorskip("monai")
pytestmark = pytest.mark.slow  # MONAI's import takes seconds


def network(gated=True, spacing=(1.0, 1.0, 1.0)):
    torch.manual_seed(0)
    return GatedResidualUNet(1, 3, (8, 16, 16), spacing, gated)


@pytest.mark.parametrize("size", [(8, 16, 16), (9, 13, 21)])
def test_an_image_of_any_size_gets_logits_of_its_size(size):
    assert network().eval()(torch.rand(1, 1, *size)).shape == (1, 3, *size)


def test_a_gate_that_is_shut_keeps_the_skip_from_the_decoder():
    gated = network().eval()
    image, features = torch.rand(1, 1, 8, 16, 16), {}
    finest = gated.decoder[-1]
    finest.join.register_forward_hook(lambda _unit, given, _out: features.update(seen=given[0]))
    with torch.no_grad():
        finest.gate.psi[0].conv.bias.fill_(-1e4)  # its sigmoid is 0
        finest.gate.psi[0].conv.weight.zero_()
        gated(image)
    skip, up = features["seen"].chunk(2, dim=1)
    assert not skip.any()
    assert up.any()


def test_the_gates_say_what_they_let_through():
    gated = network().eval()
    maps = gated.gate_maps(torch.rand(1, 1, 8, 16, 16))
    assert [tuple(each.shape[2:]) for each in maps] == [(8, 16, 16), (4, 8, 8)]
    assert all(each.min() >= 0 and each.max() <= 1 for each in maps)
    assert network(gated=False).eval().gate_maps(torch.rand(1, 1, 8, 16, 16)) == []


def test_thick_slices_are_not_halved_before_the_plane_is():
    heart = network(spacing=(10.0, 2.0, 2.0))
    assert heart.encoder[0].conv[0].conv.kernel_size == (1, 3, 3)
    assert heart.multiple[0] < heart.multiple[1]


def test_every_part_learns():
    gated = network()
    gated(torch.rand(2, 1, 8, 16, 16)).square().mean().backward()
    without = [name for name, each in gated.named_parameters() if each.grad is None]
    assert without == []


def test_a_network_of_one_size_takes_smaller_images():
    small = unetr(1, 3, (16, 20, 16)).eval()
    assert small.multiple == (16, 32, 16)
    with torch.no_grad():
        assert small(torch.rand(1, 1, 11, 20, 16)).shape == (1, 3, 11, 20, 16)
        assert swin_unetr(1, 3, 12).eval()(torch.rand(1, 1, 20, 33, 8)).shape == (1, 3, 20, 33, 8)
