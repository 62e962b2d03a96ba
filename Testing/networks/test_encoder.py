"""Every encoder gives source tokens of several depths, the ones it is meant to give, and a map
for Grad-CAM.
"""

import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from Testing.helpers.cam_maps import recorded_maps

ENCODERS = ("cnn", "vit", "efficientnet-lite0", "clip", "vit folder")


@pytest.mark.parametrize("name", ENCODERS)
def test_an_image_becomes_source_tokens_of_several_depths(name, encoder_of):
    encoder = encoder_of(name).eval()
    image = torch.randn(3, 1, 32, 32)
    tokens = encoder(image)
    assert tokens.shape == (3, len(encoder.widths), max(encoder.widths))
    assert len(encoder.widths) >= 4
    for n, width in enumerate(encoder.widths):
        assert tokens[:, n, :width].std() > 0
        assert not tokens[:, n, width:].any()
    torch.testing.assert_close(encoder(image[1:2]), tokens[1:2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_grad_cam_gets_a_map_and_its_gradient_from_a_frozen_encoder_too(name, encoder_of):
    encoder = encoder_of(name, frozen=True)
    seen = recorded_maps(encoder)
    encoder(torch.randn(2, 1, 32, 32, requires_grad=True)).square().sum().backward()
    assert len(seen) == 1
    assert seen[0].ndim == 4
    assert seen[0].shape[0] == 2
    assert seen[0].grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize("name", ("vit", "clip", "vit folder"))
def test_the_map_lies_as_the_patches_do(name, encoder_of):
    """The last layer's patches, led through the map, must come back in their order; and row 0 of
    the map is the image's top.
    """
    encoder = encoder_of(name).eval()
    image = torch.randn(1, 1, 32, 32)
    maps = recorded_maps(encoder)
    encoder(image)
    changed = image.clone()
    # In the patch of the top right corner: with few layers, the map changes most there.
    changed[..., :2, -2:] += 3
    encoder(changed)
    difference = (maps[1] - maps[0]).square().sum(1)[0]  # (h, w)
    columns = difference.shape[1]
    row, column = divmod(int(difference.argmax()), columns)
    assert (row, column) == (0, columns - 1)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_frozen_encoder_stays_in_evaluation_mode_and_one_that_trains_has_gradients(
    name, encoder_of
):
    frozen = encoder_of(name, frozen=True).train()
    assert not any(m.training for m in frozen.modules())
    trained = encoder_of(name).train()
    assert all(m.training for m in trained.modules())
    trained(torch.randn(2, 1, 32, 32)).square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.parameters())


def test_depths_are_counted_from_one_and_must_exist(encoder_of):
    all_, some = (encoder_of("cnn", depths=depths).eval() for depths in ((), (2, 3)))
    image = torch.randn(2, 1, 32, 32)
    own = some.state_dict()
    some.load_state_dict({name: t for name, t in all_.state_dict().items() if name in own})
    assert some.widths == (32, 64)
    assert torch.equal(some(image)[:, 1], all_(image)[:, 2, :64])
    with pytest.raises(UserError, match="has 4 depths and depth 5"):
        encoder_of("cnn", depths=(5,))
