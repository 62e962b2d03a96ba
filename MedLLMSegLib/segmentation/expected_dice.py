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


def fit_lines(points: Mapping[int, Sequence[tuple[float, float]]]) -> dict[int, Line]:
    """Lines from confidence to Dice by least squares, one for each key: all as steep, each through
    the mean of its own points.

    points: key -> (confidence, Dice) of each image; keys with fewer than `FEWEST_POINTS` get none.
    One image set varies too little for a slope of each structure's own. A line that falls would
    call a doubtful outline the better one; then the mean Dice stands for every confidence.
    """
    arrays = {key: np.array(pairs) for key, pairs in points.items() if len(pairs) >= FEWEST_POINTS}
    if not arrays:
        return {}
    apart = np.concatenate([pairs - pairs.mean(axis=0) for pairs in arrays.values()])  # (n, 2)
    spread = float((apart[:, 0] ** 2).sum())
    slope = max(0.0, float((apart[:, 0] * apart[:, 1]).sum()) / spread) if spread > 0 else 0.0
    means = {key: pairs.mean(axis=0) for key, pairs in arrays.items()}
    return {key: (float(dice - slope * sure), slope) for key, (sure, dice) in means.items()}


def read_lines(metadata: Json) -> dict[int, Line]:
    """The lines in a bundle's "calibration", {} without any. Raises `ValueError` for others."""
    stored = (metadata.get("calibration") or {}).get("dice_lines") or {}
    lines = {int(label): (float(start), float(slope)) for label, (start, slope) in stored.items()}
    if not all(math.isfinite(number) for line in lines.values() for number in line):
        raise ValueError('"dice_lines" holds numbers that are none')
    return lines
