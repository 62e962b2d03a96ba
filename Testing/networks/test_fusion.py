"""The fusion's context has two forms, one of them for graphs of any size."""

import pytest
import torch

from MedLLMSegLib.networks.parts.fusion import context_by_products, context_of


@pytest.mark.parametrize("grid", ((5, 7, 5), (1, 1, 9), (2, 3, 4), (10, 15, 11)))
def test_products_of_matrices_average_and_interpolate_as_torch_does(grid):
    x = torch.randn((2, 3, *grid), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(context_by_products(x), context_of(x), atol=1e-5)
