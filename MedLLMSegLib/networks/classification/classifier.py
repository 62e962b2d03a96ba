"""The base of all classifiers of images, and the two simplest: a linear probe, and an MLP on the
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
    """From an image, and what belongs to it, to the logits of exclusive classes.

    A batch has "image" (B, C, H, W) of float32, or for a sequence (B, T, C, H, W) with "lengths"
    (B,) of int64. A record adds "numbers" (B, N) of float32, NaN where missing, and "categories"
    (B, M) of int64, -1 where missing.

    ``forward(batch) = classify(encode(batch), batch)``. `encode` runs the encoder only: where that
    is frozen, its tokens are the same in each epoch and may be cached. `head` is the last linear
    layer, and `features` is its input.
    """

    def __init__(self, config: ClassifierConfig, encoder: Encoder, head: nn.Linear):
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.head = head

    def forward(self, batch: Batch) -> Tensor:
        """batch -> logits (B, classes). Its "tokens", of `encode`, may stand for its image."""
        tokens = batch["tokens"] if "tokens" in batch else self.encode(batch)
        return self.classify(tokens, batch)

    def encode(self, batch: Batch) -> Tensor:
        """batch["image"] (B, C, H, W) -> source tokens (B, S, width)."""
        return self.encoder(batch["image"])

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, S, width) -> (B, F), the input of the last linear layer."""
        raise NotImplementedError

    def classify(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, S, width) of `encode` -> logits (B, classes). The batch may lack its image."""
        return self.head(self.summarise(tokens, batch))

    def features(self, batch: Batch) -> Tensor:
        """batch -> (B, F), the input of the last linear layer."""
        return self.summarise(self.encode(batch), batch)

    @property
    def cam_layer(self) -> nn.Module:
        """The module whose output (B, C, h, w) Grad-CAM uses. With a frozen encoder, the image must
        require gradients.
        """
        return self.encoder.cam_layer


class LinearProbe(Classifier):
    """One linear layer on all source tokens, concatenated, with each channel standardised
    (BatchNorm, as in He et al. 2022).
    """

    def __init__(self, config: ClassifierConfig, encoder: Encoder):
        inputs = sum(encoder.widths)
        super().__init__(config, encoder, nn.Linear(inputs, len(config.classes)))
        self.norm = nn.BatchNorm1d(inputs, affine=False)

    def summarise(self, tokens: Tensor, batch: Batch) -> Tensor:
        """tokens (B, S, widest) -> (B, W) with W the sum of the sources' widths."""
        sources = [tokens[:, n, :width] for n, width in enumerate(self.encoder.widths)]
        x = torch.cat(sources, dim=1)  # (B, W)
        if len(x) > 1:
            return self.norm(x)
        # One case alone, as at the end of an epoch, has no spread to standardise by.
        return F.batch_norm(x, self.norm.running_mean, self.norm.running_var, eps=self.norm.eps)


class SourceTokens(nn.Module):
    """Bring the features of each depth to one width, by its own LayerNorm and linear layer."""

    def __init__(self, widths: tuple[int, ...], width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(n) for n in widths)
        self.maps = nn.ModuleList(nn.Linear(n, width) for n in widths)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, widest), padded with zeros behind each one's own width -> (B, S, width)."""
        projected = [
            project(norm(tokens[:, n, : project.in_features]))
            for n, (norm, project) in enumerate(zip(self.norms, self.maps, strict=True))
        ]  # (B, width) each
        return torch.stack(projected, dim=1)


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
        mean = self.sources(tokens).mean(dim=1)  # (B, width)
        return self.mlp(mean)
