"""What a run is asked for, and what it fills in on the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.segmentation import Structure


@dataclass(frozen=True)
class OutputRequest:
    """What is asked for besides the labels. augment: how many more views of the scan are
    averaged.
    """

    probabilities: bool = False
    uncertainty: bool = False
    augment: int = 0


@dataclass(frozen=True, eq=False)
class ResultMaps:
    """Arrays on the scan's grid, filled in place.

    labels: uint8 [k, j, i]. confidence: label -> mean probability over its voxels (NaN: it has
    none). probabilities: float32 [c, k, j, i] over the structures, or None. uncertainty: float32
    [k, j, i], or None.
    """

    labels: np.ndarray
    confidence: dict[int, float]
    probabilities: np.ndarray | None
    uncertainty: np.ndarray | None

    @classmethod
    def empty(
        cls, shape: tuple[int, int, int], structures: tuple[Structure, ...], wanted: OutputRequest
    ) -> ResultMaps:
        """All background, and sure of it."""
        return cls(
            np.zeros(shape, np.uint8),
            {s.label: float("nan") for s in structures},
            np.zeros((len(structures), *shape), np.float32) if wanted.probabilities else None,
            np.zeros(shape, np.float32) if wanted.uncertainty else None,
        )
