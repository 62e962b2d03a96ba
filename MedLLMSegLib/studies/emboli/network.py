"""A small CNN on each slice of a window, and what reads its features over the slices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .windows import CHANNELS, SIDE

READERS = ("lstm", "mean", "middle")
FEATURES, HIDDEN = 32, 16
DROPOUT = 0.3


class SliceReader(nn.Module):
    """A window of slices -> how likely an embolus is at its middle.

    reader: "lstm" runs over the slices both ways and is read at the middle one; "mean" takes the
    mean of the slices' features; "middle" sees the middle slice alone.
    """

    def __init__(self, reader: str):
        super().__init__()
        if reader not in READERS:
            raise ValueError(f'"{reader}" is none of {", ".join(READERS)}')
        self.reader = reader
        self.slice_cnn = nn.Sequential(
            *_block(CHANNELS, 8), nn.MaxPool2d(2), *_block(8, 16), nn.MaxPool2d(2), *_block(16, 24)
        )
        self.features = nn.Linear(24 * (SIDE // 4) ** 2, FEATURES)
        if reader == "lstm":
            self.lstm = nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=True)
        else:
            self.hidden = nn.Linear(FEATURES, 2 * HIDDEN)
        self.drop = nn.Dropout(DROPOUT)
        self.head = nn.Linear(2 * HIDDEN, 1)

    def forward(self, window: Tensor) -> Tensor:
        """(B, slices, 2, SIDE, SIDE) -> logits (B,)."""
        middle = window.shape[1] // 2
        if self.reader == "middle":
            window, middle = window[:, middle : middle + 1], 0
        batch, slices = window.shape[:2]
        maps = self.slice_cnn(window.flatten(0, 1))  # (B * slices, 24, SIDE / 4, SIDE / 4)
        features = torch.relu(self.features(self.drop(maps.flatten(1))))  # (B * slices, FEATURES)
        features = features.unflatten(0, (batch, slices))  # (B, slices, FEATURES)
        if self.reader == "lstm":
            hidden = self.lstm(features)[0][:, middle]  # (B, 2 HIDDEN)
        else:
            hidden = torch.relu(self.hidden(features.mean(1)))  # (B, 2 HIDDEN)
        logits: Tensor = self.head(self.drop(hidden))[:, 0]
        return logits


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.ReLU()
