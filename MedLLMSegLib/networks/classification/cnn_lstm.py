"""CNN-LSTM: an encoder for each image of a sequence (slices, phases, time points), and an LSTM over
their features in order.
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
    """Takes sequences of different lengths in one batch; their padding is never used."""

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
        after the end of a sequence.
        """
        image = batch["image"]
        valid = _valid_steps(image, batch)  # (B, T)
        tokens = self.encoder(image[valid])  # (n, C, H, W) -> (n, S, widest), n valid images
        encoded = tokens.new_zeros(*image.shape[:2], tokens.shape[1] * tokens.shape[2])
        encoded[valid] = tokens.flatten(1)  # (n, S * widest)
        return encoded

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, T, S * widest) -> (B, hidden), or (B, 2 * hidden) of both directions: the last
        states of the LSTM.
        """
        valid = _valid_steps(tokens, batch)  # (B, T)
        by_source = tokens[valid].unflatten(1, (len(self.encoder.widths), -1))  # (n, S, widest)
        features = self.sources(by_source).mean(dim=1)  # (n, width)
        x = features.new_zeros(*tokens.shape[:2], features.shape[1])  # (B, T, width)
        x[valid] = features
        lengths = valid.sum(1).cpu()  # (B,)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)  # (directions, B, hidden)
        return self.dropout(last.transpose(0, 1).flatten(1))  # (B, directions * hidden)


def _valid_steps(x: Tensor, batch: Batch) -> Tensor:
    """Which steps of x (B, T, ...) belong to their sequence: (B, T) of bool. All of them where the
    batch has no lengths.
    """
    steps = x.shape[1]
    lengths = batch.get("lengths")
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if lengths.min() < 1 or lengths.max() > steps:
        raise UserError(
            f"A sequence has {int(lengths.min())} to {int(lengths.max())} images, and 1 to"
            f" {steps} are needed; leave empty sequences out."
        )
    return torch.arange(steps, device=x.device) < lengths.to(x.device)[:, None]  # (B, T)
