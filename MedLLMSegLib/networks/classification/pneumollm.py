"""PneumoLLM (arXiv 2312.03490): image tokens through a frozen language model, and an answer without
any text.

Source tokens S (one for each depth of the encoder) -> diagnosis tokens D made from them -> [S; D]
through a projector and the frozen layers, where information flows from S to D only -> RMSNorm, mean
over D, one linear layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.llm.block import RMSNorm
from MedLLMSegLib.networks.encoders.encoder import Encoder
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, PneumoLLMConfig

from .classifier import Batch, Classifier, SourceTokens


class TokenEngine(nn.Module):
    """Contextual multi-token engine: K tokens, each a mixture of the source tokens that these
    choose themselves.

    D = A S, with A the softmax over the source tokens of W2 relu(W1 S).
    """

    def __init__(self, width: int, hidden: int, tokens: int):
        super().__init__()
        self.w1 = nn.Linear(width, hidden)
        self.w2 = nn.Linear(
            hidden, tokens, bias=False
        )  # the softmax over the source would not see a bias

    def forward(self, source: Tensor) -> Tensor:
        """source (B, S, C) -> (B, K, C)."""
        scores = self.w2(F.relu(self.w1(source)))  # (B, S, K)
        return scores.softmax(dim=1).transpose(1, 2) @ source  # (B, K, S) @ (B, S, C)


class ConstantTokens(nn.Module):
    """The ablation of the engine: K learned tokens, the same for every image."""

    def __init__(self, width: int, tokens: int):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, width) * 0.02)

    def forward(self, source: Tensor) -> Tensor:
        """source (B, S, C) -> (B, K, C)."""
        return self.tokens.expand(source.shape[0], -1, -1)


class Adapter(nn.Module):
    """``x + up(dropout(down(x)))`` on each token, the second map in two groups and zero to begin
    with (Luo et al. 2023).
    """

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.down = nn.Conv1d(width, hidden, 1)
        self.up = nn.Conv1d(hidden, width, 1, groups=2)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        return x + self.up(self.dropout(self.down(x.transpose(1, 2)))).transpose(1, 2)


class FrozenStack(nn.Module):
    """Layers of a language model that nothing trains, each with an adapter on what its attention
    sees.
    """

    def __init__(self, layers: nn.ModuleList, config: PneumoLLMConfig):
        super().__init__()
        self.config = config.llm
        self.layers = layers.requires_grad_(False).eval()
        width = layers[0].config.hidden_size
        self.adapters = nn.ModuleList(
            (
                Adapter(width, config.adapter_width, config.dropout)
                if config.adapters
                else nn.Identity()
            )
            for _ in layers
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (B, N, D) -> (B, N, D). mask (N, N) of bool: which token (row) may see which
        (column); None for all.
        """
        for layer, adapter in zip(self.layers, self.adapters):
            x = layer(x, rotary=self.config.rotary, mask=mask, adapter=adapter)
        return x

    def train(self, mode: bool = True) -> FrozenStack:
        """The language model stays in evaluation mode."""
        super().train(mode)
        self.layers.eval()
        return self


def emitter_mask(
    sources: int, tokens: int, emitter: bool, causal: bool, device=None
) -> Tensor | None:
    """Which token (row) may see which (column), (S + K, S + K) of bool; None where every token sees
    every other.

    The information emitter, as in the paper: in every layer the keys are the source tokens alone. A
    source token sees the source tokens; a diagnosis token sees the source tokens too, and neither
    another diagnosis token nor itself (its own state goes on through the residual). So nothing
    flows from diagnosis to source, nor between diagnosis tokens.
    """
    if not emitter and not causal:
        return None
    count = sources + tokens
    mask = torch.ones(count, count, dtype=torch.bool, device=device)
    if causal:
        mask = mask.tril()
    if emitter:
        mask[:, sources:] = False
    return mask


def projector(width: int, inner: int, hidden: int) -> nn.Sequential:
    """Tokens (B, N, width) to the language model's width (B, N, hidden)."""
    return nn.Sequential(nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, hidden))


class PneumoLLM(Classifier):
    """llm: the frozen layers, or None: then the projected tokens are the last."""

    def __init__(self, config: ClassifierConfig, encoder: Encoder, llm: nn.ModuleList | None):
        part, width = config.pneumollm, config.encoder.width
        hidden = llm[0].config.hidden_size if llm is not None else part.projector_width
        super().__init__(config, encoder, nn.Linear(hidden, len(config.classes)))
        self.sources = SourceTokens(encoder.widths, width)
        self.engine = (
            TokenEngine(width, part.engine_hidden, part.tokens)
            if part.token_engine
            else ConstantTokens(width, part.tokens)
        )
        self.projector = projector(width, part.projector_width, hidden)
        self.llm = FrozenStack(llm, part) if llm is not None else None
        self.norm = RMSNorm(hidden, 1e-6)

    def last_tokens(self, source: Tensor, diagnosis: Tensor) -> Tensor:
        """source (B, S, C), diagnosis (B, K, C) -> both, after the frozen layers (B, S + K, D)."""
        x = self.projector(torch.cat([source, diagnosis], dim=1))  # (B, S + K, D)
        if self.llm is None:
            return x
        part = self.config.pneumollm
        return self.llm(
            x, emitter_mask(source.shape[1], part.tokens, part.emitter, part.llm.causal, x.device)
        )

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, S, widest) -> (B, D): the mean of the diagnosis tokens."""
        source = self.sources(tokens)
        last = self.last_tokens(source, self.engine(source))
        return self.norm(last[:, source.shape[1] :]).mean(dim=1)
