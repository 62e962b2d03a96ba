"""Structures as queries, voxels in blocks: the parts of the brain's network."""

from dataclasses import replace

import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.networks.parts.queries import QueryHead, folded
from MedLLMSegLib.registry.network_config import BRAIN, NetworkConfig

TINY = replace(
    BRAIN,
    classes=5,
    stem_channels=(4, 6, 8, 8),
    width=24,
    depth=1,
    heads=2,
    llm=None,
)


def test_folding_keeps_every_voxel_in_the_order_k_j_i():
    image = torch.arange(2 * 4 * 6 * 8.0).reshape(1, 2, 4, 6, 8)
    blocks = folded(image, 2)
    assert blocks.shape == (1, 16, 2, 3, 4)
    for voxel, (k, j, i) in enumerate(torch.cartesian_prod(*[torch.arange(2)] * 3).tolist()):
        assert torch.equal(blocks[0, voxel], image[0, 0, k::2, j::2, i::2])
        assert torch.equal(blocks[0, 8 + voxel], image[0, 1, k::2, j::2, i::2])


def test_the_logits_of_one_voxel_of_a_block_are_those_of_all_at_its_place():
    torch.manual_seed(0)
    head = QueryHead(6, 5, fold=2, sides=True)
    x = torch.randn(1, 6, 3, 4, 5)
    whole = head(x)
    assert whole.shape == (1, 6, 6, 8, 10)
    for voxel, (k, j, i) in enumerate(torch.cartesian_prod(*[torch.arange(2)] * 3).tolist()):
        assert torch.allclose(head(x, voxel), whole[..., k::2, j::2, i::2], atol=1e-5)


def test_logits_are_products_with_the_queries():
    """Two structures with one vector and one bias cannot be told apart."""
    head = QueryHead(6, 4, fold=2, sides=False)
    with torch.no_grad():
        head.queries[2] = head.queries[1]
    logits = head(torch.randn(1, 6, 2, 2, 2))
    assert torch.allclose(logits[:, 1], logits[:, 2], atol=1e-6)
    assert not torch.allclose(logits[:, 1], logits[:, 3], atol=1e-3)


@pytest.mark.parametrize("size", [(32, 32, 48), (33, 40, 37)])
def test_the_brains_network_gives_each_voxel_its_structures_and_its_side(size):
    network = build_network(TINY).eval()
    with torch.inference_mode():
        logits = network(torch.randn(1, 1, *size))
    assert logits.shape == (1, TINY.classes + 1, *size)


def test_a_folded_networks_single_voxels_are_those_of_the_whole():
    network = build_network(TINY).eval()
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(network(image, 3), network(image)[..., 0::2, 1::2, 1::2], atol=1e-4)


@pytest.mark.parametrize("planes", [2, 7, 16, 64])
def test_slab_by_slab_the_logits_are_those_of_the_whole(planes):
    network = build_network(TINY).eval()
    image = torch.randn(1, 1, 35, 40, 37)
    with torch.inference_mode():
        slabs = list(network.logit_slabs(image, planes))
        assert len(slabs) == {2: 18, 7: 6, 16: 3, 64: 1}[planes]
        assert torch.allclose(torch.cat(slabs, dim=2), network(image), atol=1e-5)


def test_a_network_of_few_classes_gives_one_slab():
    network = build_network(NetworkConfig(llm=None, stem_channels=(4, 6, 8), width=24, heads=2))
    image = torch.randn(1, 1, 16, 16, 24)
    with torch.inference_mode():
        (whole,) = network.eval().logit_slabs(image)
        assert torch.equal(whole, network(image))


def test_the_norm_is_in_every_block_and_in_no_other_network():
    def norms(config):
        kinds = {type(m).__name__ for m in build_network(config).modules()}
        return kinds & {"BatchNorm3d", "ImageNorm", "InstanceNorm3d"}

    assert norms(TINY) == {"ImageNorm"}
    assert norms(NetworkConfig(llm=None)) == {"InstanceNorm3d"}


def test_no_tokens_is_a_depth_of_nought():
    network = build_network(replace(TINY, depth=0)).eval()
    assert not network.blocks
    assert network(torch.randn(1, 1, 32, 32, 32)).shape == (1, 6, 32, 32, 32)


@pytest.mark.parametrize(
    "changed", [{"fold": 2}, {"sides": True}, {"head": "queries", "deep_supervision": True}]
)
def test_settings_that_do_not_go_together_are_refused(changed):
    with pytest.raises(UserError, match=r"head|queries"):
        NetworkConfig(**changed)
