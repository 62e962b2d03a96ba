"""The Dice that a model expects of each structure, from its confidence: a line that was fitted on
images with known labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from MedLLMSegLib.core.types import Json

Line: TypeAlias = tuple[float, float]  # Dice = first + second x confidence
DiceLines: TypeAlias = Mapping[int, Line]  # of each label
FEWEST_POINTS = 8  # for a line


def expected_dice(confidence: Mapping[int, float], lines: DiceLines) -> dict[int, float]:
    """Label -> expected Dice, 0 to 1, of the structures that were found and have a line."""
    return {
        label: min(1.0, max(0.0, lines[label][0] + lines[label][1] * value))
        for label, value in confidence.items()
        if label in lines and not math.isnan(value)
    }


def fit_line(confidence: Sequence[float], dice: Sequence[float]) -> Line | None:
    """The least-squares line through (n,) pairs; None for fewer than `FEWEST_POINTS`.

    A line that falls would call a doubtful outline the better one; then the mean Dice stands for
    every confidence.
    """
    if len(confidence) < FEWEST_POINTS:
        return None
    if np.ptp(confidence) > 0:
        slope, start = np.polyfit(confidence, dice, 1)
        if slope > 0:
            return float(start), float(slope)
    return float(np.mean(dice)), 0.0


def read_lines(metadata: Json) -> dict[int, Line]:
    """The lines in a bundle's "calibration", {} without any. Raises `ValueError` for others."""
    stored = (metadata.get("calibration") or {}).get("dice_lines") or {}
    lines = {int(label): (float(start), float(slope)) for label, (start, slope) in stored.items()}
    if not all(math.isfinite(number) for line in lines.values() for number in line):
        raise ValueError('"dice_lines" holds numbers that are none')
    return lines
