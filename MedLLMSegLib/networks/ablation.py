"""Parts of a finished segmentation network silenced for a while, to see what they give its answers.

Each switch is a forward hook on one part; when it is taken away, the network is what it was. The
weights are never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .parts.decoder import ConvDecoder
from .segmentation.segmenter import MedVisionLlama

NO_TOKENS, NO_LANGUAGE_MODEL = "no_tokens", "no_language_model"
ABLATIONS = (NO_TOKENS, NO_LANGUAGE_MODEL)


def why_not(network: nn.Module, ablation: str) -> str:
    """Why a part of a network cannot be silenced, in words; "" where it can.

    ablation: one of `ABLATIONS`.
    """
    if not isinstance(network, MedVisionLlama):
        return "the network has no tokens of a vision transformer"
    if ablation == NO_TOKENS:
        return _why_tokens_stay(network)
    if network.llm is None:
        return "the network holds no language-model block"
    if network.llm.config.training_only:
        return "the network leaves its language-model block out after training"
    return ""


def _why_tokens_stay(network: MedVisionLlama) -> str:
    if not len(network.blocks):
        return "the network has no transformer"
    if not isinstance(network.decoder, ConvDecoder):
        return "the network sees the scan through its tokens alone"
    return ""


@contextmanager
def silenced(network: nn.Module, ablation: str) -> Iterator[None]:
    """The network without one of its parts, for as long as the context lasts.

    no_tokens: the features that the decoder gets from the token grid are zero, so that it sees the
    scan through the skips alone. no_language_model: the frozen block gives its input back. Raises
    `ValueError` where `why_not` has a reason.
    """
    reason = why_not(network, ablation)
    if reason or not isinstance(network, MedVisionLlama):
        raise ValueError(f"{ablation}: {reason}")
    part, change = _switch(network, ablation)
    hook = part.register_forward_hook(change)
    try:
        yield
    finally:
        hook.remove()


def _switch(network: MedVisionLlama, ablation: str) -> tuple[nn.Module, Callable[..., Tensor]]:
    """The part, and what its output becomes."""
    if ablation == NO_LANGUAGE_MODEL:
        assert network.llm is not None  # `why_not` has seen to it
        return network.llm, _input
    last = network.norm if network.fusion is None else network.fusion
    return last, _zeros


def _zeros(part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """Zeros of the output's shape and type."""
    return torch.zeros_like(output)


def _input(part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """What went in (B, N, C)."""
    unchanged: Tensor = inputs[0]
    return unchanged
