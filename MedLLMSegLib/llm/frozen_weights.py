"""A frozen language-model block between two projections, through which image tokens pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.registry.network_config import LLMConfig


class FrozenBlock(nn.Module):
    """``x + out(norm(llm(into(x))))``, with the language model's weights held fixed.

    The last projection starts at zero, so at first the network is the one without the block. The
    block's output is RMS-normalised, which the published code (arXiv 2410.02458) does not do.
    Gradients pass through the block to `into`, but never into its weights.
    """

    def __init__(self, width: int, hidden_size: int, layers: nn.ModuleList, config: LLMConfig):
        super().__init__()
        self.config = config
        self.into = nn.Linear(width, hidden_size)
        self.out = nn.Linear(hidden_size, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.llm = layers
        if config.frozen:
            self.llm.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, C) -> (B, N, C)."""
        if self.config.training_only and not self.training:
            return x
        hidden = self.into(x)  # (B, N, D)
        for layer in self.llm:
            hidden = layer(
                hidden, causal=self.config.causal, rotary=self.config.rotary
            )  # (B, N, D)
        if self.config.normalise:
            hidden = F.rms_norm(hidden.float(), hidden.shape[-1:], eps=1e-6).to(hidden.dtype)
        return x + self.out(hidden)  # (B, N, C)

    def train(self, mode: bool = True) -> FrozenBlock:
        """Set the mode, except that a frozen language model stays in evaluation mode."""
        super().train(mode)
        if self.config.frozen:
            self.llm.eval()
        return self


def trained_tensors(network: nn.Module) -> dict[str, Tensor]:
    """A network's state without its frozen parameters: what an optimiser changes and a bundle
    stores.
    """
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    return {name: t for name, t in network.state_dict().items() if name not in frozen}


def frozen_bytes(network: nn.Module) -> bytes:
    """All bytes of the frozen parameters, to show that nothing changed them."""
    frozen = (p.detach().cpu().contiguous() for p in network.parameters() if not p.requires_grad)
    return b"".join(p.view(torch.uint8).numpy().tobytes() for p in frozen)
