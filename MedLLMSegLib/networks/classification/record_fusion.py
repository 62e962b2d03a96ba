"""An image of one or more channels together with fields of a record, fused late; any of them may be
missing.

Each channel (a modality, such as PET beside CT) goes through an encoder of its own, the fields
through an MLP; what they say is put side by side. What is missing is replaced by a learned vector,
and in training each channel and each field is left out now and then, so that the network learns to
do without (modality dropout, Neverova et al. 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MedLLMSegLib.networks.encoders.encoder import Encoder
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, RecordConfig

from .classifier import Batch, Classifier, SourceTokens

CATEGORY_WIDTH = 8


class RecordEncoder(nn.Module):
    """Numbers, scaled, each with whether it is there; categories as learned vectors, one of them
    for "missing".
    """

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
        """numbers (B, N), NaN where missing; categories (B, M), -1 where missing or of no known
        value -> (B, width).
        """
        there = numbers.isfinite()
        scaled = torch.where(there, (numbers - self.means) / self.stds, 0.0)
        parts = [scaled, there.to(scaled.dtype)]
        for n, table in enumerate(self.categories):
            value = categories[:, n]
            known = (value >= 0) & (value < table.num_embeddings - 1)
            parts.append(table(torch.where(known, value + 1, 0)))  # the first row is "missing"
        return self.mlp(torch.cat(parts, dim=1))


class RecordFusion(Classifier):
    """encoders: one a channel, each of one channel. The first is `encoder`, at which Grad-CAM
    looks.
    """

    def __init__(self, config: ClassifierConfig, encoders: nn.ModuleList):
        width, parts = config.encoder.width, len(encoders) + (config.record is not None)
        super().__init__(config, encoders[0], nn.Linear(config.hidden, len(config.classes)))
        self.others = encoders[1:]
        self.sources = nn.ModuleList(SourceTokens(e.widths, width) for e in encoders)
        self.missing = nn.Parameter(torch.randn(len(encoders), width) * 0.02)
        self.record = RecordEncoder(config.record, width, config.dropout) if config.record else None
        self.fuse = nn.Sequential(
            nn.LayerNorm(parts * width),
            nn.Linear(parts * width, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )

    @property
    def encoders(self) -> list[Encoder]:
        return [self.encoder, *self.others]

    def encode(self, batch: Batch) -> Tensor:
        """batch["image"] (B, channels, H, W) -> (B, channels * S, widest), NaN for a channel that
        is missing.

        A channel with any NaN counts as missing; without an image, all do.
        """
        image, encoders = batch.get("image"), self.encoders
        count, like = _cases(batch), self.head.weight
        blank = (count, len(encoders[0].widths), max(encoders[0].widths))
        out = []
        for n, encoder in enumerate(encoders):
            tokens = like.new_full(blank, torch.nan)
            if image is not None and (there := ~image[:, n].isnan().flatten(1).any(1)).any():
                seen = encoder(image[there, n : n + 1])
                tokens = tokens.to(seen.dtype)
                tokens[there] = seen
            out.append(tokens)
        return torch.cat(out, dim=1)

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, channels * S, widest), and the record of the batch -> (B, hidden)."""
        parts = []
        for n, (sources, one) in enumerate(
            zip(self.sources, tokens.chunk(len(self.sources), dim=1))
        ):
            there = self._kept(~one.isnan().flatten(1).any(1))  # (B,)
            seen = sources(torch.where(there[:, None, None], one, 0.0)).mean(dim=1)  # (B, width)
            parts.append(torch.where(there[:, None], seen, self.missing[n].to(seen.dtype)))
        if self.record is not None:
            numbers, categories = self._fields(batch, len(tokens), tokens.device)
            numbers = torch.where(self._kept(numbers.isfinite()), numbers, torch.nan)
            parts.append(
                self.record(numbers, torch.where(self._kept(categories >= 0), categories, -1))
            )
        return self.fuse(torch.cat(parts, dim=1))

    def _kept(self, there: Tensor) -> Tensor:
        """What is there, in training without what modality dropout leaves out."""
        if not self.training or not self.config.modality_dropout:
            return there
        return there & (
            torch.rand(there.shape, device=there.device) >= self.config.modality_dropout
        )

    def _fields(self, batch: Batch, count: int, device) -> tuple[Tensor, Tensor]:
        """Numbers (B, N) and categories (B, M) of the batch; fields that it does not have are
        missing.
        """
        record = self.config.record
        numbers, categories = batch.get("numbers"), batch.get("categories")
        if numbers is None:
            numbers = torch.full((count, len(record.numbers)), torch.nan, device=device)
        if categories is None:
            categories = torch.full((count, len(record.categories)), -1, device=device)
        return numbers.to(device).float(), categories.to(device)


def _cases(batch: Batch) -> int:
    return len(next(batch[name] for name in ("image", "numbers", "categories") if name in batch))
