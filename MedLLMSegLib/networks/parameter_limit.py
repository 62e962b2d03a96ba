"""A network from outside is built no larger than the weights that came with it.

A configuration is a few numbers, and with one digit too many it would fill the memory before its
weights are seen not to fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

from MedLLMSegLib.llm.llama import LlamaWeights

SPARE_VALUES = 1 << 20  # what a network may hold besides, such as constants of its own


@contextmanager
def parameter_limit(
    tensors: Mapping[str, torch.Tensor], weights: LlamaWeights | None = None
) -> Iterator[None]:
    """Inside, modules with more values than the tensors have raise ValueError as they are built.

    tensors: of the file that the network is to be filled from. weights: of its language model.
    """
    limit = SPARE_VALUES + sum(tensor.numel() for tensor in tensors.values())
    if weights is not None:
        layers = weights.layers.values()
        limit += sum(tensor.numel() for layer in layers for tensor in layer.values())
    built: dict[tuple[int, str], int] = {}  # a parameter that replaces another counts once

    def count(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> None:
        built[id(module), name] = 0 if parameter is None else parameter.numel()
        if sum(built.values()) > limit:
            raise ValueError(f"its network has more than the {limit} values of its weights")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
