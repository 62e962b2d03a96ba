"""Whether an image lies in the domain that a model was measured in: the answer, in one object."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DomainVerdict:
    """How far an image lies from the images that a model knows.

    outside: whether `distance` is beyond `threshold`. distance: of the model's own features, in
    the unit of the threshold; never negative. threshold: what 95 of 100 images of the model's own
    domain stay under. reason: what is far, as the end of a sentence without its full stop, such as
    "its features lie far from those of ..."; "" within the domain.
    """

    outside: bool
    distance: float
    threshold: float
    reason: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.distance) and math.isfinite(self.threshold)):
            raise ValueError(f"distance {self.distance}, threshold {self.threshold}: no numbers")
        if self.outside != bool(self.reason):
            raise ValueError("a reason is of an image outside the domain, and of no other")

    @property
    def in_words(self) -> str:
        """Part of a sentence, without a full stop; "" within the domain."""
        return f"outside the domain: {self.reason}" if self.outside else ""
