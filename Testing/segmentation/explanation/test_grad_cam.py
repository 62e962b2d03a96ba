"""Evidence is where the features are that a region's logits are made of."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.networks.segmentation.feature_layers import feature_layers
from MedLLMSegLib.registry.network_config import BRAIN, PAPER_VIT
from MedLLMSegLib.segmentation.explanation.grad_cam import CamSettings, Question, window_evidence
from MedLLMSegLib.segmentation.explanation.whole_evidence import whole_evidence
from Testing.helpers.tiny_segmenter import TINY

CPU = torch.device("cpu")
LINEAR = replace(PAPER_VIT, classes=3, width=24, heads=2, depth=1, patch_size=4, grid=(4, 4, 4))
FOLDED = replace(
    BRAIN, stem_channels=(4, 8), strides=((2, 2, 2), (2, 2, 2)), width=24, heads=2, depth=1,
    llm=None, classes=4,
)  # fmt: skip


def network_of(config, seed=0):
    torch.manual_seed(seed)
    return build_network(config).eval()


def image_of(shape, seed=1):
    return torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(seed))


def corner(shape, size=4):
    region = torch.zeros(shape)
    region[:size, :size, :size] = 1 / size**3
    return region


def evidence(network, image, counts, layer="tokens", way="place", rivals=()):
    score = "margin" if rivals else "logit"
    settings = CamSettings(layer, way, score)
    return window_evidence(network, image, Question(counts, rivals), settings, Progress())


def test_evidence_of_a_linear_decoder_adds_up_to_the_logit():
    """Without the bias, the mean logit of the region is the sum over its tokens, and nothing else:
    a token of the published decoder decides its own patch alone.
    """
    network = network_of(LINEAR)
    image, counts = image_of((16, 16, 16)), {2: corner((16, 16, 16))}
    found = evidence(network, image, counts)
    with torch.no_grad():
        network.decoder.project.bias.zero_()
        mean_logit = float((network(image)[0, 2] * counts[2]).sum())
    # The region is one token, whose value reaches halfway into its neighbours
    assert float(found[:2, :2, :2].mean()) == pytest.approx(mean_logit, rel=1e-4)
    assert not found[7:].any()
    assert not found[:, 7:].any()
    assert not found[:, :, 7:].any()


def test_each_logit_counts_only_where_it_is_meant():
    network, image = network_of(LINEAR), image_of((16, 16, 16))
    one, other = corner((16, 16, 16)), torch.flip(corner((16, 16, 16)), (0, 1, 2))
    together = evidence(network, image, {1: one, 2: other})
    apart = evidence(network, image, {1: one}) + evidence(network, image, {2: other})
    torch.testing.assert_close(together, apart)
    assert together[:4].any()
    assert together[-4:].any()


def test_what_lifts_all_logits_alike_is_no_evidence():
    """A margin is over the other classes: features that every class reads alike do not count."""
    network, image = network_of(LINEAR), image_of((16, 16, 16))
    counts = {2: corner((16, 16, 16))}
    weight = network.decoder.project.weight
    with torch.no_grad():  # outputs are (class, voxel of the patch)
        weight.copy_(weight.view(3, 64, -1)[:1].repeat(3, 1, 1).view_as(weight))
    assert evidence(network, image, counts).abs().max() > 1e-3
    assert evidence(network, image, counts, rivals=(0, 1)).abs().max() < 1e-5


def test_weighed_by_channel_the_map_forgets_the_place():
    """The reason for weighing by place (Seg-XRes-CAM): two regions of one class that are mean
    gradients apart differ in their maps only if places count.
    """
    network, image = network_of(LINEAR), image_of((16, 16, 16))
    by_channel = evidence(network, image, {2: corner((16, 16, 16))}, way="channel")
    assert by_channel[8:].any()


@pytest.mark.parametrize("config", (TINY, FOLDED), ids=("ours", "folded"))
def test_every_layer_gives_a_map_of_the_image_s_size(config):
    network, image = network_of(config), image_of((17, 24, 19))
    counts = {1: corner((17, 24, 19), 8)}
    for name in feature_layers(network):
        found = evidence(network, image, counts, name)
        assert found.shape == (17, 24, 19)
        assert torch.isfinite(found).all(), name
        assert found.any(), name


def test_slabs_of_logits_give_the_same_gradient():
    """A network of the brain makes its logits slab by slab; in one piece they say the same."""
    network, image = network_of(FOLDED), image_of((40, 16, 16))
    counts = {1: torch.rand((40, 16, 16), generator=torch.Generator().manual_seed(2))}
    slab_by_slab = evidence(network, image, counts, "decoder1")
    network.logit_slabs = lambda image: [network(image)]
    torch.testing.assert_close(slab_by_slab, evidence(network, image, counts, "decoder1"))


def test_the_weights_are_as_trainable_as_before():
    network, image = network_of(TINY), image_of((16, 16, 16))
    before = [p.requires_grad for p in network.parameters()]
    evidence(network, image, {1: corner((16, 16, 16))})
    assert [p.requires_grad for p in network.parameters()] == before
    assert all(p.grad is None for p in network.parameters())


def test_windows_that_hold_nothing_of_the_region_are_left_out():
    network = network_of(LINEAR)
    array = image_of((16, 16, 64))[0, 0].numpy()
    counts = torch.zeros(array.shape)
    counts[:, :, 50:54] = 1
    question = Question({1: counts})
    found = whole_evidence(
        network, array, question, (16, 16, 16), CamSettings("tokens"), CPU, Progress()
    )
    assert found.windows == 2  # of seven
    assert not found.values[:, :, :40].any()
    assert found.values[:, :, 44:60].any()


def test_in_windows_each_voxel_counts_once():
    """Where two windows say the same of a voxel, its evidence is what either says."""

    network = network_of(replace(LINEAR, position="none"))
    network.blocks = torch.nn.ModuleList()  # so a token sees its own patch alone
    array = image_of((16, 16, 32))[0, 0].numpy()
    question = Question({1: torch.ones(array.shape)})
    settings = CamSettings("tokens")
    windows = whole_evidence(network, array, question, (16, 16, 16), settings, CPU, Progress())
    whole = whole_evidence(network, array, question, (16, 16, 32), settings, CPU, Progress())
    assert (windows.windows, whole.windows) == (3, 1)
    inside = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(windows.values[inside].sum(), whole.values[inside].sum(), rtol=0.05)


def test_a_network_of_others_is_refused_in_a_sentence():
    with pytest.raises(UserError, match="Conv3d are not known"):
        feature_layers(torch.nn.Conv3d(1, 2, 3))
