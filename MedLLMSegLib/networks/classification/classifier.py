"""What every classifier of images does, and the two simplest: a linear probe, and an MLP on the
mean of the tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.networks.encoders.encoder import Encoder
from MedLLMSegLib.registry.classifier_config import ClassifierConfig

Batch = dict[str, Tensor]


class Classifier(nn.Module):
    """An image (with what belongs to it) to logits of exclusive classes.

    A batch: "image" (B, C, H, W) of float32, for a sequence (B, T, C, H, W) with "lengths" (B,) of
    int64; for a record "numbers" (B, N), NaN where missing, and "categories" (B, M) of int64, -1
    where missing. ``forward(batch) = classify(encode(batch), batch)``. `encode` holds the encoder
    only: where that is frozen, its tokens are the same in each epoch and may be kept. `head` is the
    last linear layer, and `features` what it sees.
    """

    def __init__(self, config: ClassifierConfig, encoder: Encoder, head: nn.Linear):
        super().__init__()
        self.config, self.encoder, self.head = config, encoder, head

    def forward(self, batch: Batch) -> Tensor:
        """batch -> logits (B, classes)."""
        return self.classify(self.encode(batch), batch)

    def encode(self, batch: Batch) -> Tensor:
        """batch["image"] (B, C, H, W) -> source tokens (B, S, width)."""
        return self.encoder(batch["image"])

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """Source tokens (B, S, width) -> (B, F), what the last linear layer sees."""
        raise NotImplementedError

    def classify(self, tokens: Tensor, batch: Batch) -> Tensor:
        """What `encode` gave, and the batch (its image may be missing) -> logits (B, classes)."""
        return self.head(self.summarise(tokens, batch))

    def features(self, batch: Batch) -> Tensor:
        """batch -> (B, F), what the last linear layer sees."""
        return self.summarise(self.encode(batch), batch)

    @property
    def cam_layer(self) -> nn.Module:
        """A module whose output is (B, C, h, w), for Grad-CAM (with a frozen encoder: give an
        image that requires grad).
        """
        return self.encoder.cam_layer


class LinearProbe(Classifier):
    """One linear layer on all source tokens side by side, each channel standardised (BatchNorm,
    as in He et al. 2022).
    """

    def __init__(self, config: ClassifierConfig, encoder: Encoder):
        inputs = sum(encoder.widths)
        super().__init__(config, encoder, nn.Linear(inputs, len(config.classes)))
        self.norm = nn.BatchNorm1d(inputs, affine=False)

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, S, widest) -> (B, sum of the sources' widths)."""
        x = torch.cat([tokens[:, n, :width] for n, width in enumerate(self.encoder.widths)], dim=1)
        if (
            len(x) == 1
        ):  # one case alone, as at the end of an epoch, has no spread to be standardised by
            return F.batch_norm(x, self.norm.running_mean, self.norm.running_var, eps=self.norm.eps)
        return self.norm(x)


class SourceTokens(nn.Module):
    """Each depth's features to one width: LayerNorm and a linear layer of its own."""

    def __init__(self, widths: tuple[int, ...], width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(n) for n in widths)
        self.maps = nn.ModuleList(nn.Linear(n, width) for n in widths)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, widest), each padded with zeros behind its own width -> (B, S, width)."""
        return torch.stack(
            [
                project(norm(tokens[:, n, : project.in_features]))
                for n, (norm, project) in enumerate(zip(self.norms, self.maps))
            ],
            dim=1,
        )


class MeanPooled(Classifier):
    """The mean of the source tokens, then an MLP."""

    def __init__(self, config: ClassifierConfig, encoder: Encoder):
        super().__init__(config, encoder, nn.Linear(config.hidden, len(config.classes)))
        width = config.encoder.width
        self.sources = SourceTokens(encoder.widths, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, S, widest) -> (B, hidden)."""
        return self.mlp(self.sources(tokens).mean(dim=1))
