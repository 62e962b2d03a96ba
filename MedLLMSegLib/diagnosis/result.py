"""What a diagnosis is: the answer that `diagnose` returns, and what goes from the worker to the
panel (no torch).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.display_orientation import AS_STORED, DisplayOrientation
from MedLLMSegLib.core.volume import Volume


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` returns. For research; it is no diagnosis in the medical sense.

    probabilities: class -> calibrated probability; they add up to 1. answer: the class decided on:
    of two, the second from `threshold` on; with more, or without a threshold, the likeliest.
    confidence: the answer's probability. heat_map: float32 from 0 to 1 on the image's own grid (a
    volume of one slice for a flat image), or None; what in the image speaks for the class
    `heat_class` (Grad-CAM). image: the image's volume. shown: (rows, columns) of it, 0 to 1, for a
    picture, of slice `shown_slice`, after the `orientation` of the volume's rows and columns. notes:
    sentences for the user. model: its id. seconds: wall time.
    """

    probabilities: dict[str, float]
    answer: str
    threshold: float | None
    confidence: float
    heat_map: Volume | None
    heat_class: str
    image: Volume | None
    shown: np.ndarray | None
    shown_slice: int = 0
    notes: tuple[str, ...] = ()
    model: str = ""
    seconds: float = 0.0
    orientation: DisplayOrientation = AS_STORED
