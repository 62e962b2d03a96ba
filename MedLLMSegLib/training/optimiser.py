"""What changes the weights: AdamW, or Muon, which learnt the heart as well in two thirds of the
steps (docs/train.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError

OPTIMISERS = {"adamw": "AdamW", "muon": "Muon"}

# rows and columns of a matrix that is worth it; smaller ones, such as most heads and first layers,
# are Adam's
SMALLEST = 16
NEWTON_SCHULZ = (
    3.4445,
    -4.7750,
    2.0315,
)  # the quintic of Jordan et al.: quick, and good to about 30 %, which is enough
ROUNDS = 5


def check_optimiser(name: str) -> None:
    """Raises `UserError` for a name that is none of `OPTIMISERS`."""
    if name not in OPTIMISERS:
        raise UserError(f'"{name}" is not an optimiser; use one of {", ".join(OPTIMISERS)}.')


def make_optimiser(
    name: str, trained: Iterable[nn.Parameter], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """One of `OPTIMISERS` for the trained parameters. Raises `UserError` for another name."""
    check_optimiser(name)
    return (Muon if name == "muon" else torch.optim.AdamW)(
        trained, lr=lr, weight_decay=weight_decay
    )


def schedule(step: int, total: int, warmup: int) -> float:
    """Factor on the learning rate: linear warm-up, then a cosine down to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def finite_gradients(network: nn.Module) -> bool:
    """Whether all gradients that there are are numbers."""
    norms = torch._foreach_norm([p.grad for p in network.parameters() if p.grad is not None])
    return bool(torch.isfinite(torch.stack([n.float() for n in norms]).sum()))


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal, with decoupled weight decay.

    Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/); a convolution counts as a
    matrix of its first axis (output channels; of a transposed one the input's) by all else. Each
    matrix moves by `size` times the learning rate in root mean square (Liu et al., arXiv
    2502.16982, who take 0.2 as that is AdamW's usual step), so that one rate and one weight decay
    serve both kinds of parameters. torch.optim.Muon (from torch 2.9) takes matrices only, no
    convolutions, and needs a second optimiser beside it.

    params: an iterable of parameters. lr, weight_decay: as for AdamW. momentum: of matrices. betas,
    eps: of all else.
    """

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        size: float = 0.2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "size": size,
                "betas": betas,
                "eps": eps,
            },
        )

    @torch.no_grad()
    def step(self, closure=None):
        """One update from the gradients; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(self._direction(p, p.grad, group), alpha=-group["lr"])
        return loss

    def _direction(self, p: Tensor, gradient: Tensor, group: dict) -> Tensor:
        state = self.state[p]
        if is_matrix(p):
            if not state:
                state["momentum"] = torch.zeros_like(p)
            momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
            nesterov = gradient.lerp(momentum, group["momentum"]).flatten(1)
            return (group["size"] * max(nesterov.shape) ** 0.5 * orthogonal(nesterov)).view_as(p)
        if not state:
            state |= {
                "step": torch.zeros(()),
                "mean": torch.zeros_like(p),
                "square": torch.zeros_like(p),
            }
        (first, second), step = group["betas"], float(state["step"].add_(1))
        mean = state["mean"].lerp_(gradient, 1 - first)
        square = state["square"].lerp_(gradient.square(), 1 - second)
        return mean / (1 - first**step) / ((square / (1 - second**step)).sqrt() + group["eps"])


def is_matrix(p: Tensor) -> bool:
    """Whether a parameter (out, in, ...) mixes enough channels to be moved as a matrix;
    depthwise kernels and biases do not.
    """
    return p.ndim >= 2 and min(p.shape[:2]) >= SMALLEST


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are alike (0.7 to 1.2), by Newton and Schulz; (M, N)
    float32 -> (M, N).

    A matrix of zeros stays one.
    """
    x = matrix.float()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)  # singular values up to 1
    # Each round multiplies x by a polynomial of x x^T. On that small square alone this takes so
    # much less work that float32 is affordable on a CPU, where the authors' bfloat16 makes the
    # update a matter of rounding.
    square = x @ x.T
    turn = factor = _quintic(square)
    for _ in range(ROUNDS - 1):
        square = factor @ (factor @ square)
        factor = _quintic(square)
        turn = factor @ turn
    x = turn @ x
    return (x.T if tall else x).to(matrix.dtype)


def _quintic(square: Tensor) -> Tensor:
    """What one round multiplies a matrix x by, from x x^T."""
    a, b, c = NEWTON_SCHULZ
    factor = b * square + c * square @ square
    factor.diagonal().add_(a)
    return factor
