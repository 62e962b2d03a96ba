"""The arms of the benchmark: the same network with the pretrained block, and with what could do as
well in its place.

Every arm differs from F, the network as it ships, in one thing. The block of F is ``x +
out(norm(llm(into(x))))`` (see `llm.frozen`); B to G change nothing but what stands between `into`
and `out`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.block import LlamaBlock
from MedLLMSegLib.llm.frozen_weights import FrozenBlock
from MedLLMSegLib.llm.weights import LlamaWeights
from MedLLMSegLib.registry.network_config import LLMConfig, NetworkConfig

from .build import build_network

ARMS = {
    "A": "no block",
    "B": "mappers only: the two projections, nothing between them",
    "C": (
        "trainable MLP: the two projections with a GELU between them, as many trained parameters"
        " as F"
    ),
    "D": "frozen random block: Gaussian weights with the norms of the pretrained ones",
    "E": "frozen permuted block: each tensor's pretrained values in random order",
    "F": "frozen pretrained block",
    "G": "trained block: D's weights to begin with, but trained; the same operations as F",
    "H-head": "F before the encoder's blocks",
    "H-middle": "F between the encoder's blocks",
    "H-tail": "F after the encoder's blocks",
    "H-layer0": "F with the language model's first layer",
    "H-layer12": "F with the language model's layer 12",
    "I": "F in training only; inference leaves the block out",
    "J": "MONAI DynUNet, planned like nnU-Net (networks/dynunet.py)",
    "F-nolocal": "F without the local branch of the hybrid attention",
    "F-nofusion": "F without the multi-scale fusion",
}
# What draws random numbers, so that each has its own stream and none moves another's.
_MAPPERS, _BLOCK = 1, 2


def arm_config(config: NetworkConfig, arm: str) -> NetworkConfig:
    """The configuration of an arm of a network whose configuration holds a block. Raises
    `UserError` for an unknown arm.

    B to E and G keep F's configuration (G with ``frozen=False``); what stands in the block is
    `build_arm`'s.
    """
    if arm not in ARMS or arm == "J":
        raise UserError(
            f'"{arm}" is no arm of this network; use one of'
            f" {', '.join(a for a in ARMS if a != 'J')}."
        )
    if config.llm is None:
        raise UserError(
            "The network of a benchmark has no language-model block to compare with; give one that"
            " has."
        )
    what = arm.partition("-")[2]
    if arm.startswith("H-"):
        change = (
            {"layers": (int(what.removeprefix("layer")),)}
            if what.startswith("layer")
            else {"position": what}
        )
        return replace(config, llm=replace(config.llm, **change))
    return {
        "A": lambda: replace(config, llm=None),
        "G": lambda: replace(config, llm=replace(config.llm, frozen=False)),
        "I": lambda: replace(config, llm=replace(config.llm, training_only=True)),
        "F-nolocal": lambda: replace(config, attention="global"),
        "F-nofusion": lambda: replace(config, fusion=False),
    }.get(arm, lambda: config)()


def build_arm(
    config: NetworkConfig, arm: str, weights: LlamaWeights | None, seed: int
) -> nn.Module:
    """The network of one arm.

    config: of the network with its block (arm F). weights: the layers of ``arm_config(config,
    arm).llm``; None for A. The seed's first stream draws the network without its block, and every
    arm begins with these same values (an arm that lacks a part leaves it out, and the others still
    match by name); the second draws the projections, the same in B to I; the third what is random
    in D, E and G. The global random state is left as it was.
    """
    wanted = arm_config(config, arm)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(replace(config, llm=None))
        if wanted == replace(config, llm=None):
            return network
        shared = network.state_dict()
        network = build_network(wanted, weights)
        own = network.state_dict()
        network.load_state_dict(
            {name: t for name, t in shared.items() if name in own and t.shape == own[name].shape},
            strict=False,
        )
        if network.llm is not None:
            torch.manual_seed(_stream(seed, _MAPPERS))
            network.llm.into.reset_parameters()
            _fill_block(
                network.llm, arm, wanted.llm, torch.Generator().manual_seed(_stream(seed, _BLOCK))
            )
    return network


def _stream(seed: int, number: int) -> int:
    """A seed of its own for each part that draws random numbers."""
    return seed + 1_000_003 * number


def _fill_block(
    block: FrozenBlock, arm: str, config: LLMConfig, generator: torch.Generator
) -> None:
    """Replace what stands between the two projections by what the arm has there."""
    if arm == "B":
        block.llm = nn.ModuleList()
    elif arm == "C":
        block.llm = nn.ModuleList([Activation()])
    elif arm in ("D", "E", "G"):
        change = permuted if arm == "E" else random_of_equal_norm
        for layer in block.llm:
            replace_tensors(layer, change, generator)
        block.llm.requires_grad_(not config.frozen)


class Activation(nn.Module):
    """What makes an MLP of the two projections. Takes, and ignores, what a language model's
    layer is told.
    """

    def forward(self, x: Tensor, causal: bool = False, rotary: bool = False) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        return nn.functional.gelu(x)


@torch.no_grad()
def replace_tensors(layer: LlamaBlock, change, generator: torch.Generator) -> None:
    """Put ``change(tensor, generator)`` in place of each of a layer's tensors, in the order of
    their names.
    """
    for name, tensor in sorted(layer.state_dict().items()):
        tensor.copy_(change(tensor, generator))


def random_of_equal_norm(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian values of the same Frobenius norm; an RMSNorm's weights (a vector) become equal
    values of that norm.

    A Gaussian vector in an RMSNorm would silence and flip channels, which no untrained network
    does.
    """
    drawn = (
        torch.ones_like(tensor)
        if tensor.ndim == 1
        else torch.randn(tensor.shape, generator=generator)
    )
    return drawn * (tensor.norm() / drawn.norm())


def permuted(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """The same values in random order: the distribution stays, all structure goes."""
    return tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view_as(tensor)


def count_parameters(network: nn.Module) -> dict[str, int]:
    """{"trained", "frozen"}: how many numbers an optimiser changes, and how many stay as they
    were read.
    """
    counts = {"trained": 0, "frozen": 0}
    for parameter in network.parameters():
        counts["trained" if parameter.requires_grad else "frozen"] += parameter.numel()
    return counts
