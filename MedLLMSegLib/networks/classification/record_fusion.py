"""An image of one or more channels together with fields of a record, fused late; any of them may be
missing.

Each channel (a modality, such as PET next to CT) goes through an encoder of its own, the fields
through an MLP; the features of all are concatenated. A learned vector replaces what is missing. In
training, channels and fields are left out at random, so that the network learns to do without them
(modality dropout, Neverova et al. 2016).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from MedLLMSegLib.networks.encoders.encoder import Encoder
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, RecordConfig

from .classifier import Batch, Classifier, SourceTokens

CATEGORY_WIDTH = 8


class RecordEncoder(nn.Module):
    """The fields of a record as one feature vector.

    A number is scaled and goes with a flag for its presence; a category is a learned vector, with
    one more for "missing".
    """

    means: Tensor
    stds: Tensor

    def __init__(self, config: RecordConfig, width: int, dropout: float):
        super().__init__()
        count = len(config.numbers)
        self.register_buffer("means", torch.tensor(config.means or (0.0,) * count))
        self.register_buffer("stds", torch.tensor(config.stds or (1.0,) * count))
        self.categories = nn.ModuleList(
            nn.Embedding(len(values) + 1, CATEGORY_WIDTH) for values in config.categories.values()
        )
        inputs = 2 * count + CATEGORY_WIDTH * len(self.categories)
        self.mlp = nn.Sequential(
            nn.Linear(inputs, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """numbers (B, N), NaN where missing, and categories (B, M), -1 where missing or unknown ->
        (B, width).
        """
        present = numbers.isfinite()  # (B, N)
        scaled = torch.where(present, (numbers - self.means) / self.stds, 0.0)  # (B, N)
        features = [scaled, present.to(scaled.dtype)]
        tables = cast("Iterable[nn.Embedding]", self.categories)
        for value, table in zip(categories.unbind(1), tables, strict=True):
            known = (value >= 0) & (value < table.num_embeddings - 1)  # (B,)
            row = torch.where(known, value + 1, 0)  # (B,); row 0 is "missing"
            features.append(table(row))  # (B, CATEGORY_WIDTH)
        return self.mlp(torch.cat(features, dim=1))


class RecordFusion(Classifier):
    """encoders: one for each channel, of one channel each. Grad-CAM uses the first, `encoder`."""

    def __init__(self, config: ClassifierConfig, encoders: Sequence[Encoder]):
        width = config.encoder.width
        count = len(encoders) + (config.record is not None)  # feature vectors to fuse
        super().__init__(config, encoders[0], nn.Linear(config.hidden, len(config.classes)))
        self.others = nn.ModuleList(encoders[1:])
        self.sources = nn.ModuleList(SourceTokens(encoder.widths, width) for encoder in encoders)
        self.missing = nn.Parameter(torch.randn(len(encoders), width) * 0.02)
        self.record = RecordEncoder(config.record, width, config.dropout) if config.record else None
        self.fuse = nn.Sequential(
            nn.LayerNorm(count * width),
            nn.Linear(count * width, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )

    @property
    def encoders(self) -> list[Encoder]:
        """The encoder of each channel, in the order of the image's channels."""
        return [self.encoder, *cast("Iterable[Encoder]", self.others)]

    def encode(self, batch: Batch) -> Tensor:
        """batch["image"] (B, channels, H, W) -> (B, channels * S, widest), NaN for a missing
        channel.

        A channel with any NaN counts as missing; without an image, all do.
        """
        image = batch.get("image")
        tokens = [
            self._encode_channel(encoder, None if image is None else image[:, n : n + 1], batch)
            for n, encoder in enumerate(self.encoders)
        ]  # (B, S, widest) each
        return torch.cat(tokens, dim=1)

    def _encode_channel(self, encoder: Encoder, channel: Tensor | None, batch: Batch) -> Tensor:
        """channel (B, 1, H, W), None where no case has it -> (B, S, widest), NaN where missing."""
        shape = (_case_count(batch), len(encoder.widths), max(encoder.widths))
        tokens = self.head.weight.new_full(shape, torch.nan)  # (B, S, widest)
        if channel is None:
            return tokens
        present = ~channel.isnan().flatten(1).any(1)  # (B,)
        if not present.any():
            return tokens
        encoded = encoder(channel[present])  # (n, S, widest), n cases that have the channel
        tokens = tokens.to(encoded.dtype)
        tokens[present] = encoded
        return tokens

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, channels * S, widest), and the record of the batch -> (B, hidden)."""
        by_channel = tokens.chunk(len(self.sources), dim=1)  # (B, S, widest) each
        features = [self._channel_features(n, channel) for n, channel in enumerate(by_channel)]
        if self.record is not None and self.config.record is not None:
            numbers, categories = _fields(batch, self.config.record, tokens)
            numbers = torch.where(self._drop_some(numbers.isfinite()), numbers, torch.nan)
            categories = torch.where(self._drop_some(categories >= 0), categories, -1)
            features.append(self.record(numbers, categories))
        return self.fuse(torch.cat(features, dim=1))  # (B, count * width) -> (B, hidden)

    def _channel_features(self, number: int, tokens: Tensor) -> Tensor:
        """tokens (B, S, widest) of one channel, NaN where missing -> (B, width)."""
        present = self._drop_some(~tokens.isnan().flatten(1).any(1))  # (B,)
        without_nan = torch.where(present[:, None, None], tokens, 0.0)  # (B, S, widest)
        features = self.sources[number](without_nan).mean(dim=1)  # (B, width)
        missing = self.missing[number].to(features.dtype)  # (width,)
        return torch.where(present[:, None], features, missing)

    def _drop_some(self, present: Tensor) -> Tensor:
        """What is present (of bool, any shape), in training without what modality dropout leaves
        out.
        """
        dropout = self.config.modality_dropout
        if not self.training or not dropout:
            return present
        return present & (torch.rand(present.shape, device=present.device) >= dropout)


def _fields(batch: Batch, record: RecordConfig, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers (B, N) and categories (B, M) of the batch, on the device of the tokens (B, ...);
    where the batch has none, all are missing.
    """
    count = len(tokens)
    device = tokens.device
    numbers = batch.get("numbers")
    categories = batch.get("categories")
    if numbers is None:
        numbers = torch.full((count, len(record.numbers)), torch.nan)
    if categories is None:
        categories = torch.full((count, len(record.categories)), -1)
    return numbers.to(device).float(), categories.to(device)


def _case_count(batch: Batch) -> int:
    present = (batch[name] for name in ("image", "numbers", "categories") if name in batch)
    return len(next(present))
