"""Attention over a 3D grid: which pairs turn with which axis, and the order of tokens."""

import pytest
import torch
from einops import rearrange

from MedLLMSegLib.networks.parts.attention import GridAttention, rotary_3d, rotate


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


def test_hybrid_attention_is_gated_between_global_and_local():
    torch.manual_seed(0)
    attention = GridAttention(48, 4, hybrid=True, rotary=True).eval()
    grid = (3, 4, 5)
    x = torch.randn(1, 60, 48)
    torch.nn.init.zeros_(attention.gate.weight)
    far = x.clone()
    far[:, -1] += 5  # a token far from the first
    torch.nn.init.constant_(attention.gate.bias, -50.0)  # local alone: the far token cannot be seen
    assert torch.allclose(attention(x, grid)[:, 0], attention(far, grid)[:, 0], atol=1e-6)
    torch.nn.init.constant_(attention.gate.bias, 50.0)  # global alone: it can
    assert not torch.allclose(attention(x, grid)[:, 0], attention(far, grid)[:, 0], atol=1e-4)


def test_rotary_position_depends_on_distance_alone():
    q = torch.randn(32)
    k = torch.randn(32)
    table = rotary_3d((4, 5, 6), 32, "cpu")

    def everywhere(vector):
        """The vector at each place of the grid, turned for it: (4, 5, 6, 32)."""
        return rotate(vector.expand(1, 1, 120, 32), table)[0, 0].reshape(4, 5, 6, 32)

    queries = everywhere(q)
    keys = everywhere(k)
    product = queries[0, 1, 2] @ keys[2, 3, 5]
    assert torch.allclose(product, queries[1, 0, 0] @ keys[3, 2, 3], atol=1e-4)
    assert not torch.allclose(product, queries[0, 1, 2] @ keys[3, 3, 5], atol=1e-4)
