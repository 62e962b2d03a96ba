"""The localizer's network beside MONAI's `UNet`, with which its weights were trained."""

from __future__ import annotations

import pytest
import torch

from MedLLMSegLib.networks.segmentation.localizer_network import (
    CLASSES,
    LocalizerConfig,
    LocalizerNet,
)
from MedLLMSegLib.networks.segmentation.residual_unet import ResidualUNet
from MedLLMSegLib.registry.bundle import load_strictly, read_bundle
from MedLLMSegLib.registry.catalogue import BUNDLES


def monai_unet(channels: tuple[int, ...], units: int) -> torch.nn.Module:
    nets = pytest.importorskip("monai.networks.nets", reason="NO MONAI: its UNet is the oracle")
    return nets.UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=len(CLASSES),
        channels=channels,
        strides=(2,) * (len(channels) - 1),
        num_res_units=units,
        norm=("instance", {"affine": True}),
    ).eval()


def test_the_shipped_weights_give_monais_logits():
    bundle = read_bundle(BUNDLES / "brain-t1-localizer")
    config = LocalizerConfig(**bundle.metadata["network"])
    ours = LocalizerNet(config).eval()
    load_strictly(ours, bundle.tensors)
    theirs = monai_unet(config.channels, config.residual_units)
    theirs.load_state_dict(ours.unet.state_dict())  # strict: the same names and shapes
    image = torch.rand(2, 1, 48, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels, units", [((4, 8), 1), ((4, 6, 8), 3), ((3, 5, 7, 9), 2)])
def test_a_seed_begins_training_with_monais_weights(channels, units):
    torch.manual_seed(0)
    ours = ResidualUNet(1, len(CLASSES), channels, units).eval()
    torch.manual_seed(0)
    theirs = monai_unet(channels, units)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), atol=0, rtol=0)
    image = torch.rand(1, 1, 16, 24, 8)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-5, rtol=0)
