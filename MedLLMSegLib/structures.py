"""Anatomical structures: names, colours and codes, and the `Segmentation` a run returns (no torch)."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .volume import Volume


@dataclass(frozen=True)
class Code:
    """One concept of a coding scheme: (value, scheme, meaning), as DICOM and Slicer's terminologies write it."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Structure:
    """One value of a label map.

    label: the voxel value. key: lower-case identifier for columns ("left_anterior").
    name: what a clinician reads ("Left hippocampus (anterior)"). color: RGB 0 to 255.
    category, type, modifier: SNOMED CT codes for Slicer's terminologies and DICOM SEG.
    """

    label: int
    key: str
    name: str
    color: tuple[int, int, int]
    category: Code
    type: Code
    modifier: Code | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What `segment` returns.

    labels: uint8 label map on the scan's own grid. structures: one entry for each possible label.
    confidence: label -> mean probability of that label over its own voxels (NaN where there are none).
    probabilities: float32 [c, k, j, i] over `structures` in order, or None unless asked for.
    notes: sentences for the user (what was assumed or skipped). model: its id. seconds: wall time.
    """

    labels: Volume
    structures: tuple[Structure, ...]
    confidence: dict[int, float] = field(default_factory=dict)
    probabilities: Volume | None = None
    notes: tuple[str, ...] = ()
    model: str = ""
    seconds: float = 0.0

    @property
    def found(self) -> tuple[Structure, ...]:
        """The structures that have voxels."""
        return tuple(s for s in self.structures if (self.labels.array == s.label).any())

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each structure in mL by its key."""
        ml = self.labels.grid.voxel_ml
        return {s.key: float(np.count_nonzero(self.labels.array == s.label) * ml) for s in self.structures}
