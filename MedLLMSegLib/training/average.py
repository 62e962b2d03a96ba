"""The moving average of a training's weights: what is scored on val, and what ships."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from MedLLMSegLib.llm.frozen_weights import trained_tensors


@torch.no_grad()
def update_average(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    """Exponential moving average of the trained tensors, buffers too, in place."""
    for name, tensor in trained_tensors(network).items():
        average[name].lerp_(tensor.float(), 1 - decay)


@contextmanager
def averaged(network: nn.Module, average: dict[str, Tensor]) -> Iterator[None]:
    """The network with the averaged weights for a while; afterwards its own are put back."""
    own = {k: v.detach().clone() for k, v in trained_tensors(network).items()}
    network.load_state_dict(average, strict=False)
    try:
        yield
    finally:
        network.load_state_dict(own, strict=False)
