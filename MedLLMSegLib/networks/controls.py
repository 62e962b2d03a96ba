"""The arms of the benchmark: the same network with the pretrained block, and with alternatives in
its place.

Every arm differs in one thing from F, the network as it ships. The block of F is ``x +
out(norm(llm(into(x))))`` (see `llm.frozen_weights`); B to G change only what is between `into` and
`out`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
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
# Every part that draws random numbers has a stream of its own, so that none moves another's.
_MAPPERS_STREAM, _BLOCK_STREAM = 1, 2
# Puts a new tensor in place of one: (tensor, generator) -> tensor of the same shape.
Replacement: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]


def arm_config(config: NetworkConfig, arm: str) -> NetworkConfig:
    """The configuration of an arm. config: of F, with its block.

    B to E keep F's configuration, and G has ``frozen=False``; `build_arm` changes what is in the
    block. Raises `UserError` for an unknown arm.
    """
    if arm not in ARMS or arm == "J":
        raise UserError(
            f'"{arm}" is not an arm of this network; use one of'
            f" {', '.join(name for name in ARMS if name != 'J')}."
        )
    if config.llm is None:
        raise UserError(
            "The network of a benchmark has no language-model block to compare with; give one that"
            " has."
        )
    if arm == "A":
        return replace(config, llm=None)
    if arm == "F-nolocal":
        return replace(config, attention="global")
    if arm == "F-nofusion":
        return replace(config, fusion=False)
    return replace(config, llm=_arm_llm(config.llm, arm))


def _arm_llm(llm: LLMConfig, arm: str) -> LLMConfig:
    """The configuration of the block of an arm that has one."""
    if arm == "G":
        return replace(llm, frozen=False)
    if arm == "I":
        return replace(llm, training_only=True)
    if arm.startswith("H-layer"):
        return replace(llm, layers=(int(arm.removeprefix("H-layer")),))
    if arm.startswith("H-"):
        return replace(llm, position=arm.removeprefix("H-"))
    return llm


def build_arm(
    config: NetworkConfig, arm: str, weights: LlamaWeights | None, seed: int
) -> nn.Module:
    """The network of one arm.

    config: of F, the network with its block. weights: the layers of ``arm_config(config,
    arm).llm``; None for A. There are three streams of random numbers from one seed. The first draws
    the network without its block: every arm starts with these values, by name, and an arm that
    lacks a part only lacks its values. The second draws the projections, the same in B to I. The
    third draws what is random in D, E and G. The global random state stays as it was.
    """
    own_config = arm_config(config, arm)
    without_block = replace(config, llm=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shared = build_network(without_block)
        if own_config == without_block:
            return shared
        network = build_network(own_config, weights)
        _copy_common_tensors(shared, network)
        if network.llm is not None:
            torch.manual_seed(_stream(seed, _MAPPERS_STREAM))
            network.llm.into.reset_parameters()
            generator = torch.Generator().manual_seed(_stream(seed, _BLOCK_STREAM))
            _fill_block(network.llm, arm, generator)
    return network


def _copy_common_tensors(source: nn.Module, target: nn.Module) -> None:
    """Copy each tensor that both networks have by the same name and shape."""
    own = target.state_dict()
    common = {
        name: tensor
        for name, tensor in source.state_dict().items()
        if name in own and tensor.shape == own[name].shape
    }
    target.load_state_dict(common, strict=False)


def _stream(seed: int, number: int) -> int:
    """A seed of its own for each stream of random numbers."""
    return seed + 1_000_003 * number


def _fill_block(block: FrozenBlock, arm: str, generator: torch.Generator) -> None:
    """Replace what is between the two projections by what the arm has there."""
    if arm == "B":
        block.llm = nn.ModuleList()
    elif arm == "C":
        block.llm = nn.ModuleList([GeluLayer()])
    elif arm in ("D", "E", "G"):
        change = permuted if arm == "E" else random_of_equal_norm
        for layer in block.llm:
            replace_tensors(layer, change, generator)
        block.llm.requires_grad_(not block.config.frozen)


class GeluLayer(nn.Module):
    """Makes an MLP of the two projections. It is called like a language model's layer, and ignores
    that layer's options.
    """

    def forward(self, x: Tensor, causal: bool = False, rotary: bool = False) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        return nn.functional.gelu(x)


@torch.no_grad()
def replace_tensors(layer: nn.Module, change: Replacement, generator: torch.Generator) -> None:
    """Put ``change(tensor, generator)`` in place of each of a layer's tensors, in the order of
    their names.
    """
    for _, tensor in sorted(layer.state_dict().items()):
        tensor.copy_(change(tensor, generator))


def random_of_equal_norm(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian values of the same shape and Frobenius norm. A vector, which is an RMSNorm's
    weights, becomes equal values of that norm.

    Gaussian weights in an RMSNorm would silence and flip channels, which no untrained network does.
    """
    is_rms_norm = tensor.ndim == 1
    if is_rms_norm:
        drawn = torch.ones_like(tensor)
    else:
        drawn = torch.randn(tensor.shape, generator=generator)
    return drawn * (tensor.norm() / drawn.norm())


def permuted(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """The same values in random order, of the same shape: their distribution stays, all structure
    goes.
    """
    order = torch.randperm(tensor.numel(), generator=generator)  # (numel,)
    return tensor.flatten()[order].view_as(tensor)


def count_parameters(network: nn.Module) -> dict[str, int]:
    """{"trained", "frozen"}: the number of parameters with and without gradients."""
    counts = {"trained": 0, "frozen": 0}
    for parameter in network.parameters():
        counts["trained" if parameter.requires_grad else "frozen"] += parameter.numel()
    return counts
