"""What the structures of a model's training cases look like: their sizes, shapes and neighbours, as
plain numbers in the model's bundle.

A left and a right structure share one entry, under the key without the side, and places are told in
a body whose right side is mirrored onto the left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np

from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.label_shape import Shape

LEAST_SPREAD = 0.02  # of a logarithm or a share: training cases that are all alike say little
LEAST_TOUCH = 0.1  # of a surface, for a neighbour to count as one
# Between two centres in every training case, for a side to count as one. The right ventricle lies
# 8.5 to 65 mm right of the left one in 120 training hearts. With 3 mm and 15 training heads, an
# amygdala of a good outline lay on the wrong side of the cortex's centre.
LEAST_OFFSET_MM = 8.0
FEW_STRUCTURES = 6  # of more, the sides of neighbours alone are kept
AXES = ("to the right", "in front", "above"), ("to the left", "behind", "below")


@dataclass(frozen=True)
class Spread:
    """How a number is spread over the training cases."""

    mean: float
    sd: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one number."""
        array = np.asarray(values, float)
        sd = max(LEAST_SPREAD, float(array.std()))
        return cls(float(array.mean()), sd, float(array.min()), float(array.max()))

    def off(self, value: float) -> float:
        """By how many standard deviations a value differs from the mean, with its sign."""
        return (value - self.mean) / self.sd

    def to_list(self) -> list[float]:
        """As in a bundle."""
        return [round(number, 5) for number in (self.mean, self.sd, self.low, self.high)]

    @classmethod
    def from_list(cls, numbers: Sequence[float]) -> Spread:
        """The inverse. Raises ValueError for anything else."""
        mean, sd, low, high = (float(number) for number in numbers)
        if not (all(map(math.isfinite, (mean, sd, low, high))) and sd > 0 and low <= high):
            raise ValueError(f"{numbers} are no mean, deviation and range")
        return cls(mean, sd, low, high)


@dataclass(frozen=True)
class StructureNorm:
    """One structure in the training cases.

    log_ml: of the logarithm of its volume in mL. log_mm: of its three lengths. log_roughness: see
    `Shape.roughness`. largest_share, border_share: see `Shape`. touches: key of a neighbour -> the
    share of the surface that adjoins it.
    """

    log_ml: Spread
    log_mm: tuple[Spread, Spread, Spread]
    log_roughness: Spread
    largest_share: Spread
    border_share: Spread
    touches: dict[str, Spread] = field(default_factory=dict)

    def to_dict(self) -> Json:
        """As in a bundle."""
        return {
            "log_ml": self.log_ml.to_list(),
            "log_mm": [spread.to_list() for spread in self.log_mm],
            "log_roughness": self.log_roughness.to_list(),
            "largest_share": self.largest_share.to_list(),
            "border_share": self.border_share.to_list(),
            "touches": {key: spread.to_list() for key, spread in self.touches.items()},
        }

    @classmethod
    def from_dict(cls, data: Json) -> StructureNorm:
        """The inverse. Raises KeyError, TypeError or ValueError for anything else."""
        longest, middle, shortest = (Spread.from_list(each) for each in data["log_mm"])
        return cls(
            Spread.from_list(data["log_ml"]),
            (longest, middle, shortest),
            Spread.from_list(data["log_roughness"]),
            Spread.from_list(data["largest_share"]),
            Spread.from_list(data["border_share"]),
            {str(key): Spread.from_list(each) for key, each in data["touches"].items()},
        )


@dataclass(frozen=True)
class Offset:
    """On which side of another structure one lies, in all training cases.

    first, second: keys. axis: 0 right, 1 front, 2 up. sign: 1, or -1 for the opposite. least_mm:
    between the centres, in the case where they are nearest.
    """

    first: str
    second: str
    axis: int
    sign: int
    least_mm: float

    def in_words(self, side: str) -> str:
        """Such as "to the right". side: of both structures; the right one's was mirrored."""
        mirrored = side == "right" and self.axis == 0
        return AXES[0 if (self.sign > 0) != mirrored else 1][self.axis]


@dataclass(frozen=True)
class Norms:
    """cases: how many they were learnt from. structures: by key without side."""

    cases: int
    structures: dict[str, StructureNorm]
    offsets: tuple[Offset, ...] = ()

    def without(self, key: str) -> Norms:
        """The same, but for one structure: neither it nor what adjoins it is judged by it."""
        kept = {
            name: replace(norm, touches={n: s for n, s in norm.touches.items() if n != key})
            for name, norm in self.structures.items()
            if name != key
        }
        offsets = tuple(o for o in self.offsets if key not in (o.first, o.second))
        return replace(self, structures=kept, offsets=offsets)

    def to_dict(self) -> Json:
        """As in a bundle."""
        return {
            "cases": self.cases,
            "structures": {key: norm.to_dict() for key, norm in self.structures.items()},
            "offsets": [
                [o.first, o.second, o.axis, o.sign, round(o.least_mm, 2)] for o in self.offsets
            ],
        }

    @classmethod
    def from_dict(cls, data: Json) -> Norms:
        """The inverse. Raises KeyError, TypeError or ValueError for anything else."""
        offsets = []
        for first, second, axis, sign, least_mm in data["offsets"]:
            if axis not in (0, 1, 2) or sign not in (1, -1):
                raise ValueError(f"an offset along axis {axis} with sign {sign}")
            offsets.append(Offset(str(first), str(second), int(axis), int(sign), float(least_mm)))
        structures = {
            str(key): StructureNorm.from_dict(norm) for key, norm in data["structures"].items()
        }
        return cls(int(data["cases"]), structures, tuple(offsets))


def learn_norms(
    cases: Iterable[tuple[Mapping[int, Shape], Sequence[Structure]]], has_sides: bool = True
) -> Norms:
    """Norms of training cases, each (shapes of its label map, the structures of its labels).

    has_sides: False for label maps whose right and left are not the body's, such as crops that all
    look like left ones: then no structure lies right of another.
    """
    gathered: dict[str, list[tuple[Shape, dict[str, float]]]] = {}
    between: dict[tuple[str, str], list[np.ndarray]] = {}
    count = 0
    for shapes, structures in cases:
        count += 1
        by_label = {s.label: s for s in structures}
        for label, shape in shapes.items():
            if label in by_label:
                own = (shape, neighbours(shape, by_label))
                gathered.setdefault(by_label[label].sideless_key, []).append(own)
        for one, other in permutations([n for n in shapes if n in by_label], 2):
            first, second = by_label[one], by_label[other]
            if first.side == second.side and first.sideless_key < second.sideless_key:
                offset = offset_mm(shapes[one], shapes[other], first.side)
                between.setdefault((first.sideless_key, second.sideless_key), []).append(offset)
    norms = {key: _norm(members) for key, members in gathered.items()}
    if len(norms) > FEW_STRUCTURES:
        between = {
            (first, second): offsets
            for (first, second), offsets in between.items()
            if second in norms[first].touches or first in norms[second].touches
        }
    return Norms(count, norms, tuple(_offsets(between, has_sides)))


def neighbours(shape: Shape, by_label: Mapping[int, Structure]) -> dict[str, float]:
    """Key without side of each neighbour -> share of the surface; both sides of one together."""
    shares: dict[str, float] = {}
    for label, share in shape.touches.items():
        if label in by_label:
            key = by_label[label].sideless_key
            shares[key] = shares.get(key, 0.0) + share
    return shares


def offset_mm(first: Shape, second: Shape, side: str) -> np.ndarray:
    """(3,) from the second centre to the first, in RAS of a body whose right side is mirrored."""
    offset = np.subtract(first.centre_ras, second.centre_ras)
    return offset * (-1, 1, 1) if side == "right" else offset


def _norm(members: Sequence[tuple[Shape, dict[str, float]]]) -> StructureNorm:
    shapes = [shape for shape, _touches in members]
    longest, middle, shortest = (
        Spread.of([math.log(shape.lengths_mm[n]) for shape in shapes]) for n in range(3)
    )
    keys = sorted({key for _shape, touches in members for key in touches})
    touches = {key: Spread.of([own.get(key, 0.0) for _shape, own in members]) for key in keys}
    return StructureNorm(
        Spread.of([math.log(shape.volume_ml) for shape in shapes]),
        (longest, middle, shortest),
        Spread.of([math.log(shape.roughness) for shape in shapes]),
        Spread.of([shape.largest_share for shape in shapes]),
        Spread.of([shape.border_share for shape in shapes]),
        {key: spread for key, spread in touches.items() if spread.mean >= LEAST_TOUCH},
    )


def _offsets(
    between: Mapping[tuple[str, str], Sequence[np.ndarray]], has_sides: bool
) -> Iterable[Offset]:
    for (first, second), offsets in sorted(between.items()):
        array = np.array(offsets)  # (cases, 3)
        for axis in range(0 if has_sides else 1, 3):
            for sign in (1, -1):
                least = float((sign * array[:, axis]).min())
                if least >= LEAST_OFFSET_MM:
                    yield Offset(first, second, axis, sign, least)
