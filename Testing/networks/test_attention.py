"""Attention over a 3D grid: which pairs turn with which axis, and the order of tokens."""

import pytest
import torch
from einops import rearrange

from MedLLMSegLib.networks.parts.attention import rotary_3d


@pytest.mark.parametrize("grid", [(2, 3, 4), (4, 2, 3), (3, 4, 2)])
def test_each_third_of_the_pairs_turns_with_its_axis_in_the_order_of_the_tokens(grid):
    """Tokens are flattened as (k j i), so a token turns by its own k, j and i."""
    head_dim = 24
    pairs = head_dim // 6
    cosines, _ = rotary_3d(grid, head_dim, "cpu", base=100.0)
    angles = rearrange(
        cosines[:, : head_dim // 2].acos(),
        "(k j i) pair -> k j i pair",
        k=grid[0],
        j=grid[1],
        i=grid[2],
    )
    frequencies = 100.0 ** (-torch.arange(pairs) / pairs)
    for axis, length in enumerate(grid):
        shape = [1, 1, 1, pairs]
        shape[axis] = length
        expected = (torch.arange(length)[:, None] * frequencies).reshape(shape)
        own = angles[..., axis * pairs : (axis + 1) * pairs]
        assert torch.allclose(own, expected.expand_as(own), atol=1e-3)
