"""The convolutional peer is planned as nnU-Net plans it."""

import torch

from MedLLMSegLib.networks.segmentation.dynunet import PlannedDynUNet, plan_strides

HALVES = (2, 2, 2)


def test_strides_are_planned_from_window_and_spacing():
    assert plan_strides((40, 48, 40), (1, 1, 1)) == [(1, 1, 1), HALVES, HALVES, HALVES]


def test_thick_slices_are_halved_in_their_plane_first():
    strides = plan_strides((10, 128, 128), (10, 1.5, 1.5))
    assert strides[:4] == [(1, 1, 1), (1, 2, 2), (1, 2, 2), HALVES]


def test_a_shallow_network_has_no_deep_supervision():
    """The coarsest scale is left out, and here no other is left."""
    network = PlannedDynUNet(1, 3, (16, 24, 16), (1.0, 1.0, 1.0)).train()
    assert network(torch.randn(1, 1, 16, 24, 16)).shape == (1, 3, 16, 24, 16)


def test_deep_supervision_gives_coarser_logits_in_training():
    network = PlannedDynUNet(1, 3, (32, 32, 32), (1.0, 1.0, 1.0)).train()
    assert list(network.net.filters) == [32, 64, 128, 256]
    logits = network(torch.randn(1, 1, 32, 32, 32))
    assert [tuple(x.shape[2:]) for x in logits] == [(32, 32, 32), (16, 16, 16)]
    sum(x.square().mean() for x in logits).backward()


def test_any_size_goes_in_and_comes_out():
    network = PlannedDynUNet(1, 3, (32, 32, 32), (1.0, 1.0, 1.0)).eval()
    with torch.inference_mode():
        assert network(torch.randn(1, 1, 19, 25, 21)).shape == (1, 3, 19, 25, 21)
