"""What a training's weights are chosen by on val."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A score from 0 to 1, of which more is better.

    key: in history.json and best.pt. words: in a line of text. axis: of the curve.
    """

    key: str
    words: str
    axis: str


DICE = Measure("val_dice", "val Dice", "mean Dice on the val cases")
AUC = Measure("val_auc", "val AUC", "AUC on the val images")
