"""The convolutional peer is planned as nnU-Net plans it."""

import torch

from MedLLMSegLib.networks.segmentation.dynunet import PlannedDynUNet, plan_strides


def test_the_dynunet_is_planned_from_window_and_spacing():
    halves = (2, 2, 2)
    assert plan_strides((40, 48, 40), (1, 1, 1)) == [(1, 1, 1), halves, halves, halves]
    thick = plan_strides((10, 128, 128), (10, 1.5, 1.5))
    assert thick[:3] == [(1, 1, 1), (1, 2, 2), (1, 2, 2)]
    assert thick[3] == halves
    shallow = PlannedDynUNet(1, 3, (16, 24, 16), (1.0, 1.0, 1.0))
    assert shallow.train()(torch.randn(1, 1, 16, 24, 16)).shape == (
        1,
        3,
        16,
        24,
        16,
    )  # the coarsest scale is left out
    network = PlannedDynUNet(1, 3, (32, 32, 32), (1.0, 1.0, 1.0))
    assert list(network.net.filters) == [32, 64, 128, 256]
    logits = network.train()(torch.randn(1, 1, 32, 32, 32))
    assert [tuple(x.shape[2:]) for x in logits] == [(32, 32, 32), (16, 16, 16)]
    sum(x.square().mean() for x in logits).backward()
    with torch.inference_mode():
        assert network.eval()(torch.randn(1, 1, 19, 25, 21)).shape == (1, 3, 19, 25, 21)
