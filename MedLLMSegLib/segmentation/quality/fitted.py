"""What was fitted of a model's quality, as plain numbers in its bundle: the Dice to expect, what is
usual, and how wide an interval of a volume is.

It belongs to the measured model it was fitted with; of any other it is dropped when it is read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.conformal import LEVEL, relative_interval

from .features import Features
from .norms import Norms

FIELD = "quality"  # of a bundle's metadata
OWNER = "measured_model"
LEAST_SCALE = 0.05  # 1 - Dice of an outline as good as any: no error is expected to be less


@dataclass(frozen=True)
class StructureFit:
    """Of one structure, both sides together.

    start: the logit of the Dice where all features are 0. usual_dice: its median in scans like the
    training's. interval: quantile of relative errors of its volume over their expected size; None
    where there were too few persons.
    """

    start: float
    usual_dice: float
    interval: float | None = None

    def to_dict(self) -> Json:
        """As in a bundle."""
        interval = None if self.interval is None else round(self.interval, 5)
        return {
            "start": round(self.start, 5),
            "usual_dice": round(self.usual_dice, 4),
            "interval": interval,
        }

    @classmethod
    def from_dict(cls, data: Json) -> StructureFit:
        """The inverse. Raises KeyError, TypeError or ValueError for anything else."""
        interval = None if data["interval"] is None else float(data["interval"])
        fit = cls(float(data["start"]), float(data["usual_dice"]), interval)
        if not all(map(math.isfinite, (fit.start, fit.usual_dice, interval or 0.0))):
            raise ValueError("a number of the quality is none")
        return fit


@dataclass(frozen=True)
class QualityFit:
    """Of one model.

    slopes: name of a feature -> by how much the logit of the Dice falls for each unit; 0 or more.
    structures: by key without side. level: of the intervals.
    """

    slopes: dict[str, float]
    structures: dict[str, StructureFit]
    norms: Norms
    level: float = LEVEL

    def expected_dice(self, key: str, features: Features) -> float | None:
        """0 to 1; None for a structure that the fit does not know. key: without side."""
        fit = self.structures.get(key)
        if fit is None:
            return None
        return dice_of_logit(fit.start - sum(w * features[n] for n, w in self.slopes.items()))

    def interval_ml(self, key: str, volume_ml: float, dice: float) -> tuple[float, float] | None:
        """(low, high) that hold the true volume; None where nothing can be promised."""
        fit = self.structures.get(key)
        if fit is None or fit.interval is None:
            return None
        ends = relative_interval(volume_ml, fit.interval, error_scale(dice))
        return ends.low, ends.high

    @property
    def digest(self) -> str:
        """16 hex digits: another fit makes other lights of the same outlines."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> Json:
        """As in a bundle, but for the model it belongs to."""
        return {
            "slopes": {name: round(slope, 5) for name, slope in self.slopes.items()},
            "structures": {key: fit.to_dict() for key, fit in self.structures.items()},
            "norms": self.norms.to_dict(),
            "level": self.level,
        }

    @classmethod
    def from_dict(cls, data: Json) -> QualityFit:
        """The inverse. Raises KeyError, TypeError or ValueError for anything else."""
        slopes = {str(name): float(slope) for name, slope in data["slopes"].items()}
        if not all(math.isfinite(slope) and slope >= 0 for slope in slopes.values()):
            raise ValueError("a slope of the quality is below 0, or no number")
        return cls(
            slopes,
            {str(key): StructureFit.from_dict(fit) for key, fit in data["structures"].items()},
            Norms.from_dict(data["norms"]),
            float(data["level"]),
        )


def read_quality(metadata: Mapping[str, Json], sha256: str) -> QualityFit | None:
    """What a bundle holds for this very measured model; None without it, or of another model.

    sha256: of the measured model. Raises KeyError, TypeError or ValueError for a damaged one.
    """
    stored = metadata.get(FIELD)
    if not stored or stored.get(OWNER) != sha256:
        return None
    return QualityFit.from_dict(stored)


def error_scale(dice: float) -> float:
    """How large a relative error of a volume is expected to be where that Dice is expected."""
    return max(LEAST_SCALE, 1 - dice)


def logit_of_dice(dice: float) -> float:
    """-4 to 4: of a Dice between 0.018 and 0.982."""
    p = min(max(dice, 0.018), 0.982)
    return math.log(p / (1 - p))


def dice_of_logit(logit: float) -> float:
    """The inverse, 0 to 1."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))
