"""PneumoLLM (arXiv 2312.03490): image tokens through a frozen language model, and an answer without
any text.

Source tokens S (one for each depth of the encoder) -> diagnosis tokens D made from them -> [S; D]
through a projector and the frozen layers, where information flows from S to D only -> RMSNorm, mean
over D, one linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.llm.block import LlamaBlock, RMSNorm
from MedLLMSegLib.networks.encoders.encoder import Encoder
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, PneumoLLMConfig

from .classifier import Batch, Classifier, SourceTokens


class TokenEngine(nn.Module):
    """Contextual multi-token engine: K diagnosis tokens, each a weighted mean of the source tokens.

    D = A S, with A the softmax over the source tokens of W2 relu(W1 S).
    """

    def __init__(self, width: int, hidden: int, tokens: int):
        super().__init__()
        self.w1 = nn.Linear(width, hidden)
        self.w2 = nn.Linear(hidden, tokens, bias=False)  # a bias would not change the softmax

    def forward(self, source: Tensor) -> Tensor:
        """source (B, S, C) -> (B, K, C)."""
        scores = self.w2(F.relu(self.w1(source)))  # (B, S, K)
        weights = scores.softmax(dim=1).transpose(1, 2)  # (B, K, S)
        return weights @ source  # (B, K, S) @ (B, S, C)


class ConstantTokens(nn.Module):
    """The ablation of the engine: K learned tokens, the same for every image."""

    def __init__(self, width: int, tokens: int):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, width) * 0.02)

    def forward(self, source: Tensor) -> Tensor:
        """source (B, S, C) -> (B, K, C)."""
        return self.tokens.expand(source.shape[0], -1, -1)


class Adapter(nn.Module):
    """``x + up(dropout(down(x)))`` on each token (Luo et al. 2023). `up` has two groups and starts
    at zero.
    """

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.down = nn.Conv1d(width, hidden, 1)
        self.up = nn.Conv1d(hidden, width, 1, groups=2)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            for parameter in self.up.parameters():
                parameter.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        channels_first = x.transpose(1, 2)  # (B, D, N)
        change = self.up(self.dropout(self.down(channels_first)))  # (B, D, N)
        return x + change.transpose(1, 2)  # (B, N, D)


class FrozenStack(nn.Module):
    """Layers of a language model that nothing trains, each with an adapter before its attention."""

    def __init__(self, layers: Sequence[LlamaBlock], config: PneumoLLMConfig):
        super().__init__()
        self.rotary = config.llm is not None and config.llm.rotary
        self.causal = config.llm is not None and config.llm.causal
        self.layers = nn.ModuleList(layers).requires_grad_(False).eval()
        width = layers[0].config.hidden_size
        self.adapters = nn.ModuleList(
            Adapter(width, config.adapter_width, config.dropout)
            if config.adapters
            else nn.Identity()
            for _ in layers
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (B, N, D) -> (B, N, D).

        mask (N, N) of bool: whether a token (row) may see another (column); None for all.
        """
        for layer, adapter in zip(self.layers, self.adapters, strict=True):
            x = layer(x, rotary=self.rotary, mask=mask, adapter=adapter)
        return x

    def train(self, mode: bool = True) -> FrozenStack:
        """The language model stays in evaluation mode."""
        super().train(mode)
        self.layers.eval()
        return self


def emitter_mask(
    sources: int, tokens: int, emitter: bool, causal: bool, device: torch.device | None = None
) -> Tensor | None:
    """Whether a token (row) may see another (column): (S + K, S + K) of bool; None where every
    token sees every other.

    The information emitter, as in the paper: in every layer the keys are the source tokens alone. A
    source token sees the source tokens. So does a diagnosis token, which sees neither another
    diagnosis token nor itself (its own state passes through the residual). Nothing flows from
    diagnosis to source, nor between diagnosis tokens.
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
    """From tokens (B, N, width) to the language model's width (B, N, hidden)."""
    return nn.Sequential(nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, hidden))


class PneumoLLM(Classifier):
    """llm: the frozen layers; None where the projected tokens are the last ones."""

    def __init__(
        self, config: ClassifierConfig, encoder: Encoder, llm: Sequence[LlamaBlock] | None
    ):
        llm_config = config.llm_part
        width = config.encoder.width
        hidden = llm_config.projector_width if llm is None else llm[0].config.hidden_size
        super().__init__(config, encoder, nn.Linear(hidden, len(config.classes)))
        self.sources = SourceTokens(encoder.widths, width)
        self.engine: nn.Module
        if llm_config.token_engine:
            self.engine = TokenEngine(width, llm_config.engine_hidden, llm_config.tokens)
        else:
            self.engine = ConstantTokens(width, llm_config.tokens)
        self.projector = projector(width, llm_config.projector_width, hidden)
        self.llm = None if llm is None else FrozenStack(llm, llm_config)
        self.norm = RMSNorm(hidden, 1e-6)

    def last_tokens(self, source: Tensor, diagnosis: Tensor) -> Tensor:
        """source (B, S, C), diagnosis (B, K, C) -> both, after the frozen layers (B, S + K, D)."""
        x = self.projector(torch.cat([source, diagnosis], dim=1))  # (B, S + K, D)
        if self.llm is None:
            return x
        emitter = self.config.llm_part.emitter
        mask = emitter_mask(
            source.shape[1], diagnosis.shape[1], emitter, self.llm.causal, x.device
        )  # (S + K, S + K)
        return self.llm(x, mask)

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, S, widest) -> (B, D): the mean of the diagnosis tokens."""
        source = self.sources(tokens)  # (B, S, C)
        last = self.last_tokens(source, self.engine(source))  # (B, S + K, D)
        diagnosis = last[:, source.shape[1] :]  # (B, K, D)
        return self.norm(diagnosis).mean(dim=1)
