"""The norm of one image and the pooling to a grid are what torch's own slower ones are."""

import pytest
import torch
import torch.nn.functional as F

from MedLLMSegLib.networks.parts.fusion import averaged_to
from MedLLMSegLib.networks.parts.vit import ImageNorm


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_each_image_is_normalised_by_itself(images, training):
    torch.manual_seed(0)
    norm = ImageNorm(4).train(training)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = 5 + torch.randn(images, 4, 6, 5, 7) * torch.arange(1, images + 1).view(-1, 1, 1, 1, 1)
    expected = F.instance_norm(x, weight=norm.weight, bias=norm.bias)
    assert torch.allclose(norm(x), expected, atol=1e-5)
    assert set(norm.state_dict()) == {"weight", "bias"}  # nothing is remembered of other images


@pytest.mark.parametrize("grid", [(4, 6, 8), (2, 3, 4), (2, 6, 1), (3, 4, 5), (1, 1, 1)])
def test_pooling_to_a_grid(grid):
    x = torch.randn(2, 3, 4, 6, 8)
    assert torch.allclose(averaged_to(x, grid), F.adaptive_avg_pool3d(x, grid), atol=1e-6)
