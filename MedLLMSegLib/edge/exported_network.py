"""A prepared array through an exported network: whole, or in windows. numpy alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.engines.graph import FP32, Graph
from MedLLMSegLib.segmentation.window_plan import WindowPlan, window_weights

from .exported_folder import ExportedModel

Floats = NDArray[np.float32]
SLAB_PLANES = 16  # of logits that are made at once


@dataclass(eq=False)
class ExportedNetwork:
    """The open graphs of a model of whole scans.

    network: image -> logits, or features where there is a head. head: features -> logits. multiple:
    each axis (k, j, i) of an image is padded to a multiple of so many voxels. fold: voxels of the
    image along each axis for one place of the features. precision: "fp32" or "bf16".
    """

    network: Graph
    head: Graph | None
    multiple: Triple
    fold: int
    precision: str = FP32

    @classmethod
    def of(cls, model: ExportedModel, precision: str = FP32) -> ExportedNetwork:
        """Raises `UserError` where a graph's file was changed."""
        network, head = model.graphs["network"], model.graphs.get("head")
        assert network.multiple is not None
        return cls(
            network.open(model.folder),
            head.open(model.folder) if head else None,
            network.multiple,
            network.fold,
            precision,
        )

    def look(self, array: Array, window: Triple, progress: Progress) -> SeenLogits:
        """What the network says of an array [k, j, i], in windows of at most this shape."""
        k, j, i = (min(size, length) for size, length in zip(window, array.shape, strict=True))
        plan = WindowPlan.of(_triple(array.shape), (k, j, i), 0.5)
        if plan.count == 1:
            progress("segment", 0.0)
            return SeenLogits(self, self._features(array), _triple(array.shape))
        return SeenLogits(self, self._in_windows(array, plan, progress), plan.shape, complete=True)

    def _features(self, array: Array) -> Floats:
        """[k, j, i] -> the network's output (1, C, k', j', i') of the padded array."""
        padding = [(0, -n % m) for n, m in zip(array.shape, self.multiple, strict=True)]
        image = np.pad(array, padding, mode="edge").astype(np.float32, copy=False)
        return self.network(np.ascontiguousarray(image)[None, None], self.precision)

    def slabs(self, features: Floats, shape: Triple) -> Iterator[tuple[int, Floats]]:
        """(first plane, logits [outputs, planes, j, i]) of an image of this shape (k, j, i)."""
        k, j, i = shape
        if self.head is None:
            yield 0, features[0, :, :k, :j, :i]
            return
        places = max(1, SLAB_PLANES // self.fold)
        for first in range(0, -(-k // self.fold), places):
            slab = np.ascontiguousarray(features[:, :, first : first + places])
            plane = first * self.fold
            yield plane, self.head(slab)[0, :, : k - plane, :j, :i]

    def _in_windows(self, array: Array, plan: WindowPlan, progress: Progress) -> Floats:
        """The mean logits (1, outputs, k, j, i) of overlapping windows."""
        weights = window_weights(plan.tile)
        counts = np.zeros(plan.shape, np.float32)
        sums: Floats | None = None
        corners = [corner for _, row in plan.rows() for corner in row]
        for number, corner in enumerate(corners):
            progress("segment", number / len(corners))
            k, j, i = (
                slice(first, first + size) for first, size in zip(corner, plan.tile, strict=True)
            )
            features = self._features(array[k, j, i])
            logits = np.concatenate([s for _, s in self.slabs(features, plan.tile)], axis=1)
            if sums is None:
                sums = np.zeros((len(logits), *plan.shape), np.float32)
            sums[:, k, j, i] += logits * weights
            counts[k, j, i] += weights
        assert sums is not None
        sums /= counts
        return sums[None]


@dataclass(frozen=True, eq=False)
class SeenLogits:
    """What a network said of an image of `shape` (k, j, i): its features, or all logits.

    The logits of a whole head take more memory than all else, so they are made slab by slab, and
    anew where they are needed twice.
    """

    network: ExportedNetwork
    features: Floats
    shape: Triple
    complete: bool = False

    def slabs(self) -> Iterator[tuple[int, Floats]]:
        """(first plane, logits [outputs, planes, j, i]), in order."""
        if self.complete:
            yield 0, self.features[0]
            return
        yield from self.network.slabs(self.features, self.shape)


def _triple(shape: tuple[int, ...]) -> Triple:
    k, j, i = shape
    return k, j, i
