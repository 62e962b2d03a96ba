"""The spacings and fields of view that a model was trained on, as plain numbers in its bundle, and
the sentence on a scan that lies beyond them (no torch).

It decides no answer, so it is not under the measured model's hash.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.volume import Volume

FIELD = "trained_range"  # of a bundle's metadata
TOLERANCE = 0.01  # of a length: headers are rounded

Range = tuple[float, float]


@dataclass(frozen=True)
class TrainedRange:
    """What the training showed a model, as (smallest, largest) in mm; None where nothing is known.

    pixel_mm: of the two finer spacings of a scan. slice_mm: of the coarsest one. view_mm: of its
    longest side.
    """

    pixel_mm: Range | None = None
    slice_mm: Range | None = None
    view_mm: Range | None = None

    def __post_init__(self) -> None:
        for limits in (self.pixel_mm, self.slice_mm, self.view_mm):
            if limits is not None and not 0 <= limits[0] <= limits[1] < math.inf:
                raise ValueError(f"a range from {limits[0]} to {limits[1]} mm")

    @classmethod
    def of_cases(
        cls,
        spacings_mm: Sequence[Sequence[float]],
        sizes_vox: Sequence[Sequence[float]],
        scale: float,
    ) -> TrainedRange:
        """Of training cases, each with its spacing and size along the same three axes.

        scale: by which share they were made larger or smaller at random, as an augmentation.
        """
        orders = [sorted(spacing) for spacing in spacings_mm]
        longest = [
            max(mm * n for mm, n in zip(spacing, size, strict=True))
            for spacing, size in zip(spacings_mm, sizes_vox, strict=True)
        ]
        return cls(
            _widened([mm for order in orders for mm in order[:2]], scale),
            _widened([order[2] for order in orders], scale),
            _widened(longest, scale),
        )

    @classmethod
    def of_bundle(cls, metadata: Json) -> TrainedRange | None:
        """What a bundle states, None without. Raises `UserError` for a damaged field."""
        stored = metadata.get(FIELD)
        if stored is None:
            return None
        try:
            limits = {name: (float(low), float(high)) for name, (low, high) in stored.items()}
            return cls(**limits)
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f'The field "{FIELD}" of the model\'s description is damaged; install it again.'
            ) from error

    def to_dict(self) -> Json:
        """As in a bundle."""
        return {name: list(limits) for name, limits in vars(self).items() if limits is not None}

    @property
    def digest(self) -> str:
        """16 hex digits: other ranges make other notes of the same scan."""
        return hashlib.sha256(json.dumps(self.to_dict()).encode()).hexdigest()[:16]

    def beyond(self, spacing_mm: Sequence[float], size_mm: Sequence[float]) -> tuple[str, ...]:
        """What of a scan lies beyond the training, each as a part of a sentence.

        spacing_mm, size_mm: along the scan's three axes, in one order.
        """
        pixels, slices = sorted(spacing_mm)[:2], max(spacing_mm)
        found = (
            _beyond("pixels of", pixels, self.pixel_mm),
            _beyond("slices every", [slices], self.slice_mm),
            _beyond("a field of view of", [max(size_mm)], self.view_mm),
        )
        return tuple(filter(None, found))


def beyond_training(trained: TrainedRange | None, volume: Volume) -> tuple[str, ...]:
    """What of a scan lies beyond a model's training; nothing where its range is not known."""
    return trained.beyond(volume.spacing_mm, volume.grid.extent_mm) if trained else ()


def range_notes(beyond: Sequence[str]) -> tuple[str, ...]:
    """One sentence for the user on what lies beyond the training; nothing where nothing does."""
    if not beyond:
        return ()
    return (f"The scan has {', and '.join(beyond)}: check every outline.",)


def _widened(lengths_mm: Sequence[float], scale: float) -> Range:
    return round(min(lengths_mm) / (1 + scale), 3), round(max(lengths_mm) * (1 + scale), 3)


def _beyond(what: str, lengths_mm: Sequence[float], limits: Range | None) -> str:
    """Of the length that lies farthest out; "" where none does."""
    if limits is None:
        return ""
    low, high = limits
    if max(lengths_mm) > high * (1 + TOLERANCE):
        length = max(lengths_mm)
    elif min(lengths_mm) < low * (1 - TOLERANCE):
        length = min(lengths_mm)
    else:
        return ""
    return f"{what} {_mm(length)} mm, where the model was trained on {_in_words(low, high)} mm"


def _in_words(low: float, high: float) -> str:
    if not low:
        return f"at most {_mm(high)}"
    return _mm(high) if _mm(low) == _mm(high) else f"{_mm(low)} to {_mm(high)}"


def _mm(length: float) -> str:
    return f"{length:.3g}" if length < 100 else f"{length:.0f}"
