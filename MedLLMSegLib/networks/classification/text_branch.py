"""PneumoLLM's text branch put back, to measure what leaving it out does: a question, the image, and
the first word of the answer.

It has the encoder, projector, adapters and frozen layers of `pneumollm`. The tokens of a prompt
come before the image's; the language model reads in order (causal); its own output matrix, frozen,
scores "yes" and "no" after the last token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from MedLLMSegLib.llm.block import LlamaBlock, RMSNorm
from MedLLMSegLib.llm.text_embeddings import TextRows
from MedLLMSegLib.networks.encoders.encoder import Encoder
from MedLLMSegLib.registry.classifier_config import ClassifierConfig

from .classifier import Batch, Classifier, SourceTokens
from .pneumollm import FrozenStack, emitter_mask, projector


class TextBranch(Classifier):
    """Logits (B, 2): of "no" and of "yes". It has no token engine and no emitter."""

    prompt: Tensor

    def __init__(
        self, config: ClassifierConfig, encoder: Encoder, llm: Sequence[LlamaBlock], text: TextRows
    ):
        llm_config = config.llm_part
        hidden = llm[0].config.hidden_size
        head = nn.Linear(hidden, 2, bias=False)
        super().__init__(config, encoder, head)
        self.sources = SourceTokens(encoder.widths, config.encoder.width)
        self.projector = projector(config.encoder.width, llm_config.projector_width, hidden)
        self.llm = FrozenStack(llm, llm_config)
        self.norm = RMSNorm(hidden, text.eps)
        self.register_buffer("prompt", text.prompt.clone())
        with torch.no_grad():
            head.weight.copy_(text.answers)
            self.norm.weight.copy_(text.norm)
        head.requires_grad_(False)
        self.norm.requires_grad_(False)

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, S, widest) -> (B, D): the language model's state at the last image token."""
        image = self.projector(self.sources(tokens))  # (B, S, D)
        prompt = self.prompt.to(image.dtype).expand(len(image), -1, -1)  # (P, D) -> (B, P, D)
        x = torch.cat([prompt, image], dim=1)  # (B, P + S, D)
        mask = emitter_mask(x.shape[1], 0, emitter=False, causal=True, device=x.device)
        x = self.llm(x, mask)  # (B, P + S, D)
        return self.norm(x[:, -1])
