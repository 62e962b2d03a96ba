"""The answer that `diagnose` returns, and that the worker passes to the panel (no torch)."""

from __future__ import annotations

from dataclasses import dataclass

from MedLLMSegLib.core.display_orientation import AS_STORED, DisplayOrientation
from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` returns. For research; it is no diagnosis in the medical sense.

    probabilities: class -> calibrated probability; they add up to 1. answer: of two classes the
    second from `threshold` on; with more, or without a threshold, the likeliest. confidence: the
    answer's probability. heat_map: float32 from 0 to 1 on the image's own grid (a volume of one
    slice for a flat image), or None; the evidence in the image for the class `heat_class`
    (Grad-CAM). image: the image's volume. shown: (rows, columns) from 0 to 1, for a picture, of
    its slice `shown_slice` in the displayed `orientation`. notes: sentences for the user, of which
    the first says so where the image is of another domain. model: its id. seconds: wall time.
    domain: whether the image is of the domain that the model was measured in; None where that is
    not known.
    """

    probabilities: dict[str, float]
    answer: str
    threshold: float | None
    confidence: float
    heat_map: Volume | None
    heat_class: str
    image: Volume | None
    shown: Array | None
    shown_slice: int = 0
    notes: tuple[str, ...] = ()
    model: str = ""
    seconds: float = 0.0
    orientation: DisplayOrientation = AS_STORED
    domain: DomainVerdict | None = None

    @property
    def turn(self) -> DisplayOrientation:
        """`orientation`, by its name in version 0.3."""
        return self.orientation
