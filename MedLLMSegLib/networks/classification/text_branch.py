"""PneumoLLM's text branch put back, to see what leaving it out does: a question, the image, and the
answer's first word.

The same encoder, projector, adapters and frozen layers as `pneumollm`; a prompt's tokens stand
before the image's, the language model reads in its own order (causal), and its own output matrix,
frozen, says "yes" or "no" behind the last token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MedLLMSegLib.llm.block import RMSNorm
from MedLLMSegLib.llm.text_embeddings import TextRows
from MedLLMSegLib.networks.encoders.encoder import Encoder
from MedLLMSegLib.registry.classifier_config import ClassifierConfig

from .classifier import Batch, Classifier, SourceTokens
from .pneumollm import FrozenStack, emitter_mask, projector


class TextBranch(Classifier):
    """Logits (B, 2): of "no" and of "yes". Token engine and emitter play no part here."""

    def __init__(
        self, config: ClassifierConfig, encoder: Encoder, llm: nn.ModuleList, text: TextRows
    ):
        part, hidden = config.pneumollm, llm[0].config.hidden_size
        head = nn.Linear(hidden, 2, bias=False)
        super().__init__(config, encoder, head)
        self.sources = SourceTokens(encoder.widths, config.encoder.width)
        self.projector = projector(config.encoder.width, part.projector_width, hidden)
        self.llm = FrozenStack(llm, part)
        self.norm = RMSNorm(hidden, text.eps)
        self.register_buffer("prompt", text.prompt.clone())
        with torch.no_grad():
            head.weight.copy_(text.answers)
            self.norm.weight.copy_(text.norm)
        head.requires_grad_(False)
        self.norm.requires_grad_(False)

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, S, widest) -> (B, D): the language model's state behind the last image
        token.
        """
        image = self.projector(self.sources(tokens))  # (B, S, D)
        x = torch.cat(
            [self.prompt.to(image.dtype).expand(len(image), -1, -1), image], dim=1
        )  # (B, P + S, D)
        x = self.llm(x, emitter_mask(x.shape[1], 0, emitter=False, causal=True, device=x.device))
        return self.norm(x[:, -1])
