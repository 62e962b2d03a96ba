"""The features by which a classifier tells an image of another domain: what its encoder makes of
it, at the middle depths.

The shallow ones see how an image was stored rather than what it shows, and the last one hardly
tells X-rays from each other (docs/domain.md says how they were chosen). The features are caught on
their way through the network, so that no image goes through it twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from MedLLMSegLib.networks.classification.classifier import Classifier


class EncoderTap:
    """Holds what an encoder gave since the tap was opened. widths: of its source tokens."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        self.widths = widths
        self._rows: list[Tensor] = []

    def add(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A forward hook. output: (n, S, widest)."""
        self._rows.append(middle_tokens(output.detach(), self.widths).cpu())

    def mean(self) -> NDArray[np.float32] | None:
        """(F,) over all images that went through; None where none did, as of a missing channel."""
        if not self._rows:
            return None
        features: NDArray[np.float32] = torch.cat(self._rows).mean(0).numpy()
        return features


@contextmanager
def encoder_tap(network: Classifier) -> Iterator[EncoderTap]:
    """Within the block, what goes through the network's encoder is held by the tap."""
    tap = EncoderTap(network.encoder.widths)
    hook = network.encoder.register_forward_hook(tap.add)
    try:
        yield tap
    finally:
        hook.remove()


def middle_tokens(tokens: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Source tokens (n, S, widest) -> (n, F) float32: those from a third of the depths on, but for
    the last one, without their padding.
    """
    first = len(widths) // 3
    end = max(len(widths) - 1, first + 1)
    sources = [tokens[:, n, : widths[n]] for n in range(first, end)]
    return torch.cat(sources, dim=1).float()
