"""How far the truth may be from a heart's figures: intervals that were measured of one model.

They are fitted by `studies.heart_intervals` (split-conformal, see `conformal`), and kept in the
bundle of the model whose errors they are, bound to its hash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.registry.catalogue import measured_model, read_metadata
from MedLLMSegLib.registry.own_figures import OWNER

FIELD = "heart_intervals"  # of a bundle's metadata
FRACTION = "ejection fraction"


@dataclass(frozen=True)
class HeartIntervals:
    """Of one model.

    factors: name of a figure -> the truth lies between the figure divided by it and times it; of
    volumes and mass. margins: name -> it lies so far above or below; of ejection fractions, in
    points. level: in which share of people. people: whose errors they are. about: which people.
    """

    factors: Mapping[str, float]
    margins: Mapping[str, float]
    level: float
    people: int
    about: str = ""

    def __post_init__(self) -> None:
        if not all(math.isfinite(factor) and factor >= 1 for factor in self.factors.values()):
            raise ValueError("a factor of the heart's intervals is below 1, or no number")
        if not all(math.isfinite(margin) and margin >= 0 for margin in self.margins.values()):
            raise ValueError("a margin of the heart's intervals is below 0, or no number")
        if not (0 < self.level < 1 and self.people > 0):
            raise ValueError("level or number of people of the heart's intervals is impossible")

    def of(self, name: str, value: float | None) -> tuple[float, float] | None:
        """(low, high) of a figure, in its unit; None where nothing is known, and for a volume that
        is not above 0. name: as in `heart_function.figures`.
        """
        if value is None or math.isnan(value):
            return None
        if name in self.factors and value > 0:
            return value / self.factors[name], value * self.factors[name]
        if name in self.margins:
            low, high = value - self.margins[name], value + self.margins[name]
            return (max(low, 0.0), min(high, 100.0)) if FRACTION in name else (low, high)
        return None

    @property
    def in_words(self) -> str:
        """What the ranges are, as a sentence."""
        among = f", {self.about}" if self.about else ""
        return (
            f"The ranges in brackets are intervals of {100 * self.level:.0f} % from the errors on"
            f" {self.people} people{among}; for other scanners and hospitals nothing is promised."
        )

    def to_dict(self) -> Json:
        """As in a bundle, but for the model it belongs to."""
        return {
            "factors": {name: round(factor, 4) for name, factor in self.factors.items()},
            "margins": {name: round(margin, 3) for name, margin in self.margins.items()},
            "level": self.level,
            "people": self.people,
            "about": self.about,
        }

    @classmethod
    def from_dict(cls, data: Json) -> HeartIntervals:
        """The inverse. Raises the errors of `read_intervals` for anything else."""
        return cls(
            {str(name): float(factor) for name, factor in data["factors"].items()},
            {str(name): float(margin) for name, margin in data["margins"].items()},
            float(data["level"]),
            int(data["people"]),
            str(data.get("about", "")),
        )


def intervals_of(folder: PathLike) -> HeartIntervals | None:
    """What was measured of the model in a bundle's folder as it is now; None where nothing was.

    Raises `UserError` for a damaged description.
    """
    metadata = read_metadata(folder)
    try:
        return read_intervals(metadata, measured_model(metadata).sha256)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f'The heart\'s intervals in the model bundle "{folder}" are damaged; install it again.'
        ) from error


def read_intervals(metadata: Json, sha256: str) -> HeartIntervals | None:
    """What a bundle holds for this very measured model; None without it, or of another model.

    sha256: of the measured model. Raises KeyError, TypeError, ValueError or AttributeError for a
    damaged one.
    """
    stored = metadata.get(FIELD)
    if not stored or stored.get(OWNER) != sha256:
        return None
    return HeartIntervals.from_dict(stored)
