"""How far a result may be trusted: a light (green, amber or red) with the reasons in words, of each
structure and of the whole scan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

GREEN, AMBER, RED = LIGHTS = ("green", "amber", "red")  # from good to bad
# What a light asks of the user, in few words: it is never shown as a colour alone.
LIGHT_WORDS = {GREEN: "nothing unusual", AMBER: "look closely", RED: "do not rely on it"}


@dataclass(frozen=True)
class Certainty:
    """How sure a network is of one structure that was found.

    mean: probability of the structure over its own voxels. doubtful: share of its voxels where that
    is below 0.75. around: sum of the probability of anything over the background around its organ,
    over the organ's voxels.
    """

    mean: float
    doubtful: float = 0.0
    around: float = 0.0


@dataclass(frozen=True)
class Quality:
    """One light. reasons: sentences without a full stop, the gravest first; () for green."""

    light: str = GREEN
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.light not in LIGHTS:
            raise ValueError(f'"{self.light}" is not one of {", ".join(LIGHTS)}')
        if (self.light == GREEN) == bool(self.reasons):
            raise ValueError("amber and red have a reason, and green has none")

    @property
    def in_words(self) -> str:
        """Such as "amber (look closely): the expected Dice is 0.71"."""
        about = f"{self.light} ({LIGHT_WORDS[self.light]})"
        return f"{about}: {'; '.join(self.reasons)}" if self.reasons else about


@dataclass(frozen=True)
class ScanQuality:
    """What is known of a result's quality.

    scan: of all structures together. structures: label -> its light. intervals_ml: label ->
    (low, high) in mL that hold the true volume in `level` of the scans; {} outside the model's
    domain, and for a model without any.
    """

    scan: Quality = Quality()
    structures: dict[int, Quality] = field(default_factory=dict)
    intervals_ml: dict[int, tuple[float, float]] = field(default_factory=dict)
    level: float = 0.9

    def of(self, labels: Iterable[int]) -> ScanQuality:
        """The same of some structures; the light of the scan stays."""
        kept = set(labels)
        return ScanQuality(
            self.scan,
            {label: light for label, light in self.structures.items() if label in kept},
            {label: ends for label, ends in self.intervals_ml.items() if label in kept},
            self.level,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types. `from_dict` reads them."""
        return {
            "scan": _as_json(self.scan),
            "structures": [[int(n), _as_json(light)] for n, light in self.structures.items()],
            "intervals_ml": [
                [int(n), float(low), float(high)] for n, (low, high) in self.intervals_ml.items()
            ],
            "level": self.level,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ScanQuality:
        """The inverse. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            _from_json(data["scan"]),
            {int(label): _from_json(light) for label, light in data["structures"]},
            {int(label): (float(low), float(high)) for label, low, high in data["intervals_ml"]},
            float(data["level"]),
        )


def worst(lights: Iterable[str]) -> str:
    """The worst of some lights; green for none."""
    return max(lights, key=LIGHTS.index, default=GREEN)


def _as_json(quality: Quality) -> dict[str, Any]:
    return {"light": quality.light, "reasons": list(quality.reasons)}


def _from_json(data: dict[str, Any]) -> Quality:
    return Quality(str(data["light"]), tuple(map(str, data["reasons"])))
