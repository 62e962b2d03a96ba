"""CNN-LSTM: an encoder looks at each image of a sequence (slices, phases, time points), an LSTM
at what it saw in order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.networks.encoders.encoder import Encoder
from MedLLMSegLib.registry.classifier_config import ClassifierConfig

from .classifier import Batch, Classifier, SourceTokens


class CNNLSTM(Classifier):
    """Sequences of any lengths in one batch: what pads the shorter ones is never looked at."""

    def __init__(self, config: ClassifierConfig, encoder: Encoder):
        sides = 2 if config.bidirectional else 1
        super().__init__(config, encoder, nn.Linear(sides * config.hidden, len(config.classes)))
        width = config.encoder.width
        self.sources = SourceTokens(encoder.widths, width)
        self.lstm = nn.LSTM(
            width, config.hidden, batch_first=True, bidirectional=config.bidirectional
        )
        self.dropout = nn.Dropout(config.dropout)

    def encode(self, batch: Batch) -> Tensor:
        """batch["image"] (B, T, C, H, W) and batch["lengths"] (B,) -> (B, T, S * widest), zero
        behind a sequence's end.
        """
        image = batch["image"]
        there = _there(image, batch)
        tokens = self.encoder(image[there])  # (images, S, widest): the encoder never sees padding
        out = tokens.new_zeros(*image.shape[:2], tokens.shape[1] * tokens.shape[2])
        out[there] = tokens.flatten(1)
        return out

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, T, S * widest) -> (B, hidden) or, of both directions, (B, 2 * hidden): the
        LSTM's last states.
        """
        there = _there(tokens, batch)
        seen = self.sources(tokens[there].unflatten(1, (len(self.encoder.widths), -1))).mean(
            dim=1
        )  # (images, width)
        x = seen.new_zeros(*tokens.shape[:2], seen.shape[1])
        x[there] = seen
        packed = pack_padded_sequence(x, there.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)  # (directions, B, hidden)
        return self.dropout(last.transpose(0, 1).flatten(1))


def _there(x: Tensor, batch: Batch) -> Tensor:
    """Which places of (B, T, ...) belong to their sequence, (B, T) of bool. Without lengths,
    all.
    """
    lengths = batch.get("lengths")
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if lengths.min() < 1 or lengths.max() > x.shape[1]:
        raise UserError(
            f"A sequence has {int(lengths.min())} to {int(lengths.max())} images, and 1 to"
            f" {x.shape[1]} are needed; leave empty sequences out."
        )
    return torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]
