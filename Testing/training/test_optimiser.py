"""Muon moves matrices the same way along all their directions, and everything else as torch's
AdamW does.
"""

import pytest
import torch
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.training.optimiser import (
    NEWTON_SCHULZ,
    Muon,
    is_matrix,
    make_optimiser,
    orthogonal,
)


@pytest.mark.parametrize("shape", [(20, 20), (16, 300), (300, 16)])
def test_singular_values_become_alike_and_directions_stay(shape):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = left * torch.logspace(0, -1, min(shape)) @ right  # a tenfold range of singular values
    made = orthogonal(matrix)
    assert made.shape == matrix.shape
    assert made.dtype == matrix.dtype
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.6
    assert values.max() < 1.25
    along = left.T @ made @ right.T  # the same directions: as good as diagonal
    assert torch.diagonal(along).min() > 0.6
    assert (along - torch.diag(torch.diagonal(along))).abs().max() < 0.05


def test_the_short_way_is_the_authors_own():
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(
        torch.randn((48, 432), dtype=torch.float64), full_matrices=False
    )
    matrix = left * torch.logspace(0, -4, 48, dtype=torch.float64) @ right
    x, (a, b, c) = matrix / matrix.norm(), NEWTON_SCHULZ
    for _ in range(5):  # as published, on the matrix itself, in float64
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    assert (orthogonal(matrix.float()) - x).norm() / x.norm() < 1e-3


def test_no_gradient_is_no_step():
    assert orthogonal(torch.zeros(20, 30)).abs().max() == 0
    weight, unused = nn.Parameter(torch.ones(20, 30)), nn.Parameter(torch.ones(20, 30))
    weight.grad = torch.zeros(20, 30)
    Muon([weight, unused], lr=0.1, weight_decay=0.0).step()
    assert torch.equal(weight, torch.ones(20, 30))
    assert torch.equal(unused, torch.ones(20, 30))


@pytest.mark.parametrize(
    "shape, matrix",
    [
        ((32, 16), True),
        ((64, 32, 3, 3, 3), True),
        ((192, 1, 3, 3, 3), False),
        ((4, 32, 1, 1, 1), False),
        ((64,), False),
    ],
)
def test_depthwise_kernels_heads_and_biases_are_no_matrices(shape, matrix):
    assert is_matrix(torch.zeros(shape)) == matrix


def test_a_matrix_moves_by_its_share_of_the_learning_rate():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(32, 16, 3, 3, 3))
    weight.grad = 1e-4 * torch.randn_like(weight)  # however small the gradient
    Muon([weight], lr=0.01, weight_decay=0.0, size=0.5).step()
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.5 * 0.01, rel=0.2)
    assert (weight * weight.grad).sum() < 0  # downhill


def test_a_matrix_looks_ahead_along_its_momentum_as_nesterov_does():
    """Three steps against the rule of Jordan et al., written out."""
    torch.manual_seed(0)
    weight, momentum = nn.Parameter(torch.zeros(20, 30)), torch.zeros(20, 30)
    expected = torch.zeros(20, 30)
    optimiser = Muon([weight], lr=0.01, weight_decay=0.0, momentum=0.9)
    for _ in range(3):
        gradient = torch.randn(20, 30)
        weight.grad = gradient.clone()
        optimiser.step()
        momentum = 0.9 * momentum + 0.1 * gradient
        ahead = 0.9 * momentum + 0.1 * gradient
        expected -= 0.01 * 0.2 * 30**0.5 * orthogonal(ahead)
    assert torch.allclose(weight, expected, atol=1e-6)


def test_all_else_is_moved_as_adamw_does():
    torch.manual_seed(0)
    start, grads = torch.randn(50), torch.randn(5, 50)
    ends = []
    for name in ("muon", "adamw"):
        weight = nn.Parameter(start.clone())
        optimiser = make_optimiser(name, [weight], lr=0.01, weight_decay=0.1)
        for grad in grads:
            weight.grad = grad.clone()
            optimiser.step()
        ends.append(weight.detach())
    assert torch.allclose(*ends, atol=1e-6)
    assert not torch.allclose(ends[0], start, atol=1e-3)


def test_weight_decay_pulls_a_matrix_to_zero():
    weight = nn.Parameter(torch.ones(16, 16))
    weight.grad = torch.zeros(16, 16)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(weight, torch.full((16, 16), 0.95))


def test_another_name_is_one_sentence():
    with pytest.raises(UserError, match='"sgd" is not an optimiser; use one of adamw, muon'):
        make_optimiser("sgd", [nn.Parameter(torch.ones(1))], 0.1, 0.0)
