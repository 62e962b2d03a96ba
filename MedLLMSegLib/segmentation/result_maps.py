"""What a run has to return, and the arrays it fills in on the scan's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.axis_order import AxisOrder
from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.memory import free_memory_gb
from MedLLMSegLib.core.quality import Certainty
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.engines.graph import FP32


@dataclass(frozen=True)
class OutputRequest:
    """Where the labels shall lie, and what to return besides them.

    grid: of the labels and maps. augment: how many more views of the scan are averaged.
    """

    grid: Grid
    probabilities: bool = False
    uncertainty: bool = False
    augment: int = 0

    def __post_init__(self) -> None:
        if self.augment < 0:
            raise UserError(f"{self.augment} more views were asked for; give 0 or more.")

    def check_memory(self, structures: int, outputs: int, network_grid: Grid) -> None:
        """Raise `UserError` where the maps would not fit into the memory that is free.

        structures: of the model. outputs: of its network, on its grid of the whole scan.
        """
        if not self.needs_all_classes:
            return
        maps = self.probabilities * structures + self.uncertainty
        scan_voxels = prod(map(float, self.grid.shape))
        network_voxels = prod(map(float, network_grid.shape))
        needed_gb = 4 * (maps * scan_voxels + outputs * network_voxels) / 1e9
        free_gb = free_memory_gb()
        if free_gb is not None and needed_gb > free_gb:
            raise UserError(
                f"The probabilities of {structures} structures take {needed_gb:.1f} GB for this"
                f" scan, and {free_gb:.1f} GB are free; leave out what needs them (probabilities,"
                " uncertainty, more views), or ask for a coarser resolution of the result."
            )

    @property
    def needs_all_classes(self) -> bool:
        """Whether every class's probability is needed at every voxel."""
        return self.probabilities or self.uncertainty or self.augment > 0


@dataclass(frozen=True, eq=False)
class ResultMaps:
    """Arrays on the grid of the result, filled in place.

    labels: uint8 [k, j, i]. confidence: label -> mean probability over its voxels (NaN where there
    are none). probabilities: float32 [c, k, j, i] over the structures, or None. uncertainty:
    float32 [k, j, i], or None. certainty: label -> more than its mean, of what was found.
    """

    labels: NDArray[np.uint8]
    confidence: dict[int, float]
    probabilities: NDArray[np.float32] | None
    uncertainty: NDArray[np.float32] | None
    certainty: dict[int, Certainty] = field(default_factory=dict)

    @property
    def need_all_classes(self) -> bool:
        """Whether there are maps to fill in from every class's probability."""
        return self.probabilities is not None or self.uncertainty is not None

    def in_stored_order(self, order: AxisOrder) -> ResultMaps:
        """The same of a scan whose axes were brought into an order before; large maps are views."""
        return replace(
            self,
            labels=np.ascontiguousarray(order.stored(self.labels)),
            probabilities=_stored(order, self.probabilities),
            uncertainty=_stored(order, self.uncertainty),
        )

    @classmethod
    def empty(cls, structures: Sequence[Structure], request: OutputRequest) -> ResultMaps:
        """All background, with no uncertainty."""
        shape = request.grid.shape
        probabilities = uncertainty = None
        if request.probabilities:
            probabilities = np.zeros((len(structures), *shape), np.float32)
        if request.uncertainty:
            uncertainty = np.zeros(shape, np.float32)
        return cls(
            labels=np.zeros(shape, np.uint8),
            confidence={s.label: float("nan") for s in structures},
            probabilities=probabilities,
            uncertainty=uncertainty,
        )


def _stored(order: AxisOrder, array: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if array is None else order.stored(array)


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a model found in one scan.

    notes: sentences for the user. precision: "fp32" or "bf16", of the segmenter's network.
    domain: whether the scan is of the model's domain; None where that is not known.
    """

    structures: tuple[Structure, ...]
    maps: ResultMaps
    notes: tuple[str, ...] = ()
    precision: str = FP32
    domain: DomainVerdict | None = None
