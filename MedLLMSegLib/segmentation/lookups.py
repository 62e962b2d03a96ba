"""How the voxels of a scan lie on the network's grid: what each of them reads there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MedLLMSegLib.core.geometry import ROUND_OFF_VOX, Box, overlap_box, sub_grid, voxel_map
from MedLLMSegLib.core.resampling import SeparableTaps
from MedLLMSegLib.core.types import Triple

from .prepare import Restore
from .scores import Scores, extremes

MIXED = 255  # no winner's number is as high
CHUNK_VOX = 4_000_000

# A source voxel (flat index) for each of n target voxels, and its weight, (n,) each.
Corner = tuple[Tensor, Tensor]


class Lookup(Protocol):
    """How the scan's voxels lie on the network's grid."""

    def box_of_foreground(self) -> Box:
        """The scan's voxels outside of which all is background."""

    def agreed(self, box: Box) -> tuple[Tensor, Tensor]:
        """(numbers uint8, certainty float16) where all corners agree; else `MIXED`."""

    def corners(self, places: Tensor, box: Box) -> Iterator[Corner]:
        """What the voxels at flat places (n,) of a box read."""


class ParallelLookup:
    """Both grids have parallel axes, in the same order: each axis by itself."""

    def __init__(self, scores: Scores, taps: SeparableTaps):
        device = scores.winner.device
        self.index = [torch.from_numpy(t.index).to(device) for t in taps.taps]  # (n, t)
        self.weight = [torch.from_numpy(t.weight).to(device) for t in taps.taps]
        self.inside = taps.inside
        self.strides = scores.winner.stride()
        self.foreground = _box_of(scores.winner > 0)
        k, j, i = (width_of(t.index) for t in taps.taps)
        self.codes = _codes(scores.winner, (k, j, i))
        self.certainty = scores.certainty

    def box_of_foreground(self) -> Box:
        """The scan's voxels that read some foreground."""
        spans = []
        for index, inside, extent in zip(self.index, self.inside, self.foreground, strict=True):
            first, last = index[:, 0].cpu().numpy(), index[:, -1].cpu().numpy()
            used = np.flatnonzero(inside & (first < extent.stop) & (last >= extent.start))
            spans.append(slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0))
        k, j, i = spans
        return k, j, i

    def agreed(self, box: Box) -> tuple[Tensor, Tensor]:
        """(numbers uint8, certainty float16) where all corners agree; else `MIXED`."""
        index = [index[along] for index, along in zip(self.index, box, strict=True)]
        weight = [weight[along] for weight, along in zip(self.weight, box, strict=True)]
        first, last = int(index[0].min()), int(index[0].max())
        index[0] = index[0] - first
        codes, certainty = self.codes[first : last + 1], self.certainty[first : last + 1]
        for axis in (2, 1, 0):  # along i while the planes are few; along j and k rows are copied
            codes = codes.index_select(axis, index[axis][:, 0])
            certainty = _tapped(certainty, axis, index[axis], weight[axis])
        return codes, certainty

    def corners(self, places: Tensor, box: Box) -> Iterator[Corner]:
        """What the voxels at flat places (n,) of a box read."""
        voxels = _unflat(places, box)
        index = [self.index[axis][voxel] for axis, voxel in enumerate(voxels)]  # (n, t) each
        weight = [self.weight[axis][voxel] for axis, voxel in enumerate(voxels)]
        for k, j, i in product(*(range(each.shape[1]) for each in index)):
            flat = index[0][:, k] * self.strides[0] + index[1][:, j] * self.strides[1]
            yield flat + index[2][:, i], weight[0][:, k] * weight[1][:, j] * weight[2][:, i]


class ObliqueLookup:
    """The scan's axes are turned against the network's: each voxel has a place of its own."""

    def __init__(self, scores: Scores, way_back: Restore):
        self.way_back = way_back
        self.shape = way_back.crop.shape
        self.matrix = voxel_map(way_back.crop, way_back.scan)  # (k, j, i) of scan -> of crop
        self.strides = scores.winner.stride()
        self.foreground = _box_of(scores.winner > 0)
        self.codes = _codes(scores.winner, (2, 2, 2)).reshape(-1)
        self.certainty = scores.certainty.reshape(-1)
        # Apple's MPS has no float64
        self.kind = torch.float32 if self.codes.device.type == "mps" else torch.float64

    def box_of_foreground(self) -> Box:
        """The scan's voxels that may read some foreground."""
        spans = [
            slice(max(0, e.start - 2), min(n, e.stop + 2))
            for e, n in zip(self.foreground, self.shape, strict=True)
        ]
        if any(e.start == e.stop for e in self.foreground):
            return slice(0, 0), slice(0, 0), slice(0, 0)
        near = sub_grid(self.way_back.crop, (spans[0], spans[1], spans[2]))
        return overlap_box(self.way_back.scan, near, margin_vox=2)

    def agreed(self, box: Box) -> tuple[Tensor, Tensor]:
        """(numbers uint8, certainty float16) where all corners agree; else `MIXED`."""
        shape = [span.stop - span.start for span in box]
        steps = [self._steps(span) for span in box]
        numbers = self._codes_at(steps)
        numbers = torch.where(self._inside(steps), numbers, 0).to(torch.uint8)
        certainty = self.certainty.new_ones(shape)
        places = ((numbers > 0) & (numbers != MIXED)).view(-1).nonzero()[:, 0]
        for some in parts_of(places, CHUNK_VOX):
            total = torch.zeros(len(some), device=places.device)
            for index, weight in self.corners(some, box):
                total.addcmul_(self.certainty[index].float(), weight)
            certainty.view(-1)[some] = total.half()
        return numbers, certainty

    def corners(self, places: Tensor, box: Box) -> Iterator[Corner]:
        """What the voxels at flat places (n,) of a box read."""
        voxels = [voxel.to(self.kind) for voxel in _unflat(places, box)]
        low, shares = [], []
        for axis, length in enumerate(self.shape):
            position = self._position(axis, voxels).clamp_(0, length - 1)
            whole = position.floor()
            low.append(whole.long())
            shares.append((position - whole).float())
        for corner in product((0, 1), repeat=3):
            weight = torch.ones(len(places), device=places.device)
            flat = torch.zeros_like(places)
            for axis, upper in enumerate(corner):
                weight = weight * (shares[axis] if upper else 1 - shares[axis])
                at = (low[axis] + upper).clamp_(max=self.shape[axis] - 1)
                flat += at * self.strides[axis]
            yield flat, weight

    def _steps(self, span: slice) -> Tensor:
        return torch.arange(span.start, span.stop, dtype=self.kind, device=self.codes.device)

    def _position(self, axis: int, voxels: list[Tensor]) -> Tensor:
        """Where the scan's voxels lie along an axis of the network's grid."""
        row = self.matrix[axis]
        k, j, i = (voxel * float(row[n]) for n, voxel in enumerate(voxels))
        return k + j + i + float(row[3])

    def _grid_position(self, axis: int, steps: list[Tensor]) -> Tensor:
        k, j, i = steps
        return self._position(axis, [k[:, None, None], j[:, None], i])

    def _codes_at(self, steps: list[Tensor]) -> Tensor:
        flat: Tensor | int = 0
        for axis, length in enumerate(self.shape):
            place = self._grid_position(axis, steps).clamp_(0, length - 1)
            flat = flat + place.floor_().long() * self.strides[axis]
        return self.codes[flat]

    def _inside(self, steps: list[Tensor]) -> Tensor:
        """bool: whether a voxel's centre lies between the faces of the network's grid."""
        inside: Tensor | bool = True
        for axis, length in enumerate(self.shape):
            place = self._grid_position(axis, steps)
            inside = (
                inside & (place > -0.5 - ROUND_OFF_VOX) & (place < length - 0.5 + ROUND_OFF_VOX)
            )
        assert isinstance(inside, Tensor)
        return inside


def _codes(winner: Tensor, widths: Triple) -> Tensor:
    """uint8 (K, J, I): the winner of the voxels from here to ``widths`` further on; `MIXED` where
    they have several.
    """
    k, j, i = widths
    low, high = extremes(winner, before=(0, 0, 0), after=(k - 1, j - 1, i - 1))
    return torch.where(low == high, low, MIXED).to(torch.uint8)


def _tapped(values: Tensor, axis: int, index: Tensor, weight: Tensor) -> Tensor:
    """Interpolated along one axis; float16, as the values."""
    shape = [1, 1, 1]
    shape[axis] = -1
    total = values.index_select(axis, index[:, 0]).float() * weight[:, 0].view(shape)
    for tap in range(1, index.shape[1]):
        part = values.index_select(axis, index[:, tap]).float()
        total.addcmul_(part, weight[:, tap].view(shape))
    return total.to(values.dtype)


def _box_of(mask: Tensor) -> Box:
    """The half-open box around all that is True; empty where nothing is."""
    spans = []
    for axis in range(3):
        others = [a for a in (2, 1, 0) if a != axis]
        line = mask
        for other in others:
            line = line.any(dim=other)
        found = line.nonzero()
        spans.append(slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0))
    k, j, i = spans
    return k, j, i


def _unflat(places: Tensor, box: Box) -> tuple[Tensor, Tensor, Tensor]:
    """Flat places within a box -> the scan's voxels k, j and i, (n,) each."""
    width, height = box[2].stop - box[2].start, box[1].stop - box[1].start
    lines = places.div(width, rounding_mode="floor")
    planes = lines.div(height, rounding_mode="floor")
    i, j = places - lines * width, lines - planes * height
    return planes + box[0].start, j + box[1].start, i + box[2].start


def width_of(index: NDArray[np.int64]) -> int:
    """The most voxels from the first to the last that a target voxel reads."""
    return int((index[:, -1] - index[:, 0]).max(initial=0)) + 1


def parts_of(places: Tensor, size: int) -> Iterator[Tensor]:
    """Places (n,) in pieces of at most ``size``."""
    return (places[first : first + size] for first in range(0, len(places), size))
