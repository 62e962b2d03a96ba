"""What a network said of a scan, kept small: the winner of every voxel, and all classes only where
neighbours have different winners.

Between voxels that agree on a winner, linear interpolation cannot make another class win, so the
way back to the scan needs the other classes nowhere else. A whole head of 32 structures then takes
a tenth of what its probabilities would; noise, which agrees nowhere, twice as much as they.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MedLLMSegLib.core.types import Triple

from .window_plan import axis_first

NO_ROW = -1
MOST_NUMBERS = 255  # of winners, background included
SMALLEST = 1e-12  # probability whose logarithm is taken
SLAB_PLANES = 8
CHUNK_VOX = 1_000_000  # whose values are computed at once
DENSE_SHARE = 0.3  # of voxels whose certainty is needed: above it, that of all is computed


@dataclass(frozen=True)
class Reading:
    """How the outputs of a network are read.

    classes: background included; the first outputs. temperature: by which their logits are divided.
    paired: for each class whether it has a left and a right side, which one more output tells apart
    (its logit is above 0 on the right); None for a network without that output.

    The *number* of a winner is its class, plus `classes` for the right side of a paired one. It
    fits into a byte, and 255 stays free; raises `ValueError` for more.
    """

    classes: int
    temperature: float = 1.0
    paired: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        if self.numbers > MOST_NUMBERS:
            raise ValueError(f"{self.numbers} kinds of labels, and at most {MOST_NUMBERS} fit")

    @property
    def outputs(self) -> int:
        """How many logits there are for a voxel."""
        return self.classes + (self.paired is not None)

    @property
    def numbers(self) -> int:
        """How many different numbers a winner may have."""
        return self.classes if self.paired is None else 2 * self.classes

    @property
    def possible_numbers(self) -> int:
        """How many of them there are: no right side of what is not paired."""
        return self.classes + sum(self.paired or ())

    def winners(self, logits: Tensor) -> Tensor:
        """Logits (outputs, ...), or the same times a positive weight -> numbers, uint8 (...)."""
        winner = logits[: self.classes].max(dim=0).indices.to(torch.uint8)
        if self.paired is None:
            return winner
        return self._with_side(winner, logits[self.classes] > 0)

    def values(self, logits: Tensor) -> Tensor:
        """Logits (outputs, n) -> what may be interpolated, float32 (outputs, n).

        The probabilities of the classes; and after them, for a network that tells sides apart, the
        probability of a paired structure of the right side: where nothing is paired its logit means
        nothing, and must not count.
        """
        probabilities = (logits[: self.classes].float() / self.temperature).softmax(dim=0)
        if self.paired is None:
            return probabilities
        right = logits[self.classes].float().sigmoid() * self._paired_share(probabilities)
        return torch.cat([probabilities, right[None]])

    def values_in_place(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """`values` of logits [outputs, k, j, i], in their place, plane by plane."""
        for k in range(logits.shape[1]):
            plane = torch.from_numpy(logits[:, k])
            logits[:, k] = self.values(plane.flatten(1)).view_as(plane).numpy()
        return logits

    def logits_of_values(self, values: Tensor) -> Tensor:
        """The inverse of `values`, but for a constant: (outputs, ...) -> (outputs, ...)."""
        classes = values[: self.classes].clamp(min=SMALLEST).log() * self.temperature
        if self.paired is None:
            return classes
        share = self._paired_share(values[: self.classes]).clamp(min=SMALLEST)
        right = (values[self.classes] / share).clamp(SMALLEST, 1 - 1e-6).logit()
        return torch.cat([classes, right[None]])

    def probabilities(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolated values [outputs, ...] -> the probability of each number [numbers, ...]."""
        if self.paired is None:
            return values
        classes = values[: self.classes]
        paired = np.array(self.paired)
        share = np.maximum(classes[paired].sum(axis=0), np.float32(SMALLEST))
        right = np.clip(values[self.classes] / share, 0, 1)  # [...]
        own = paired.reshape(-1, *[1] * right.ndim)
        on_the_right = np.where(own, classes * right, np.float32(0))
        return np.concatenate([classes - on_the_right, on_the_right])

    def winners_of_values(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolated values (outputs, n) -> numbers uint8 and the class's probability, (n,)."""
        certainty, index = values[: self.classes].max(dim=0)
        winner = index.to(torch.uint8)
        if self.paired is None:
            return winner, certainty
        share = self._paired_share(values[: self.classes])
        return self._with_side(winner, values[self.classes] > share / 2), certainty

    def _paired_share(self, probabilities: Tensor) -> Tensor:
        """(classes, n) -> (n,): the probability of all paired classes together."""
        paired = torch.tensor(self.paired, device=probabilities.device)
        return probabilities[paired].sum(dim=0)

    def _with_side(self, winner: Tensor, right: Tensor) -> Tensor:
        paired = torch.tensor(self.paired, device=winner.device)[winner.long()]
        return winner + (right & paired).to(torch.uint8) * self.classes


@dataclass(frozen=True, eq=False)
class Scores:
    """What a network said of each voxel of its grid.

    reading: of the network. winner: uint8 (K, J, I), numbers. certainty: (K, J, I), the probability
    of the winning class (of both its sides together), 1 where the background wins in agreement.
    row: int32 (K, J, I), the voxel's place in `table`, or `NO_ROW`. table: (n, outputs), the values
    of all voxels that have a neighbour within `reach` (k, j, i) with another winner.
    """

    reading: Reading
    winner: Tensor
    certainty: Tensor
    row: Tensor
    table: Tensor
    reach: Triple

    def permuted(self, axes: Triple) -> Scores:
        """The same with the axes of the grid in another order."""
        k, j, i = (self.reach[axis] for axis in axes)
        return replace(
            self,
            winner=self.winner.permute(axes).contiguous(),
            certainty=self.certainty.permute(axes).contiguous(),
            row=self.row.permute(axes).contiguous(),
            reach=(k, j, i),
        )

    @classmethod
    def of_values(cls, reading: Reading, values: Tensor, reach: Triple) -> Scores:
        """From values (outputs, K, J, I) that are all at hand."""
        k, j, i = values.shape[1:]
        gather = ScoresGather(reading, reach, (k, j, i))
        for first in range(0, k, SLAB_PLANES):
            gather.add(reading.logits_of_values(values[:, first : first + SLAB_PLANES]))
        return gather.finish()


class ScoresGather:
    """Makes `Scores` from slabs of logits, as they come.

    reading: of the network. reach: how many voxels (k, j, i) away interpolation reads together.
    shape: (K, J, I) of the whole grid. axis: along which the slabs follow each other; it is the
    first one of what is added.
    """

    def __init__(
        self,
        reading: Reading,
        reach: Triple,
        shape: Triple,
        axis: int = 0,
        device: torch.device | str = "cpu",
    ):
        self.reading, self.reach, self.axis = reading, reach, axis
        rolled = axis_first(shape, axis)
        self._reach = axis_first(reach, axis)
        self._winner = torch.empty(rolled, dtype=torch.uint8, device=device)
        self._certainty = torch.ones(rolled, dtype=torch.float16, device=device)
        self._row = torch.full(rolled, NO_ROW, dtype=torch.int32, device=device)
        self._tables: list[Tensor] = []
        self._rows = 0
        self._seen = self._done = 0  # planes that came; and those whose neighbours came, too
        self._waiting: Tensor | None = None  # logits (outputs, ...) of the planes between

    def add(self, sums: Tensor, weights: Tensor | None = None) -> None:
        """The next planes: logits (outputs, planes, ...), or sums of logits times weights, and the
        weights (planes, ...).
        """
        before, planes = self._seen, sums.shape[1]
        self._winner[before : before + planes] = self.reading.winners(sums)
        self._seen += planes
        complete = self._seen == len(self._winner)
        ready = self._seen if complete else max(self._done, self._seen - self._reach[0])
        self._take_from_waiting(ready - self._done)
        if ready > before:
            self._collect(sums[:, : ready - before], weights, before)
            self._done = ready
        left = self._seen - max(ready, before)
        if left:
            rest = sums[:, planes - left :].float()
            rest = rest / weights[planes - left :] if weights is not None else rest.clone()
            held = [w for w in (self._waiting, rest) if w is not None]
            self._waiting = torch.cat(held, dim=1)

    def finish(self) -> Scores:
        """The scores, when all planes have been added."""
        table = torch.cat(self._tables) if self._tables else torch.empty(0, self.reading.outputs)
        winner, certainty, row = (
            rolled.movedim(0, self.axis).contiguous()
            for rolled in (self._winner, self._certainty, self._row)
        )
        return Scores(self.reading, winner, certainty, row, table, self.reach)

    def _take_from_waiting(self, planes: int) -> None:
        """Collect the first of the planes that have waited for their neighbours."""
        if self._waiting is None or planes <= 0:
            return
        taken, rest = self._waiting[:, :planes], self._waiting[:, planes:]
        self._collect(taken, None, self._done)
        self._done += taken.shape[1]
        self._waiting = rest.clone() if rest.shape[1] else None

    def _collect(self, logits: Tensor, weights: Tensor | None, first: int) -> None:
        """Keep what is needed of the planes that begin at ``first``."""
        planes = slice(first, first + logits.shape[1])
        low, high = max(0, first - self._reach[0]), planes.stop + self._reach[0]
        around = self._winner[low:high]
        if not around.any():
            return
        mixed = differs(around, self._reach)[first - low :][: logits.shape[1]].reshape(-1)
        needed = mixed | (self._winner[planes].view(-1) > 0)
        if needed.float().mean() > DENSE_SHARE:  # then plane by plane is quicker
            self._certainty[planes] = self._certainty_of(logits, weights)
            needed = mixed
        own_weights = None if weights is None else weights.reshape(-1)
        places = needed.nonzero()[:, 0]
        for begin in range(0, len(places), CHUNK_VOX):
            some = places[begin : begin + CHUNK_VOX]
            self._keep(logits, own_weights, mixed, some, planes)

    def _certainty_of(self, logits: Tensor, weights: Tensor | None) -> Tensor:
        """float16 (planes, ...): the probability of the winning class, everywhere."""
        certainty = torch.empty(logits.shape[1:], dtype=torch.float16, device=logits.device)
        for plane in range(logits.shape[1]):
            values = logits[: self.reading.classes, plane].float() / self.reading.temperature
            if weights is not None:
                values = values / weights[plane]
            certainty[plane] = 1 / (values - values.max(dim=0).values).exp_().sum(dim=0)
        return certainty

    def _keep(
        self,
        logits: Tensor,
        weights: Tensor | None,
        mixed: Tensor,
        places: Tensor,
        planes: slice,
    ) -> None:
        """Certainty and, where they are mixed, all values of some places (n,) of the planes."""
        columns = _columns(logits, places)  # (outputs, n)
        if weights is not None:
            columns = columns.float() / weights[places]
        values = self.reading.values(columns)
        certainty = values[: self.reading.classes].max(dim=0).values
        self._certainty[planes].view(-1)[places] = certainty.to(self._certainty.dtype)
        keep = mixed[places].nonzero()[:, 0]
        rows = torch.arange(self._rows, self._rows + len(keep), dtype=torch.int32)
        self._row[planes].view(-1)[places[keep]] = rows.to(places.device)
        self._tables.append(values.index_select(1, keep).T.contiguous())
        self._rows += len(keep)


def differs(numbers: Tensor, reach: Triple) -> Tensor:
    """uint8 (K, J, I) -> bool: whether not all voxels within ``reach`` (k, j, i) are equal."""
    low, high = extremes(numbers, before=reach, after=reach)
    return low != high


def extremes(numbers: Tensor, before: Triple, after: Triple) -> tuple[Tensor, Tensor]:
    """The least and the greatest of the voxels from ``before`` back to ``after`` on, (k, j, i)."""
    low, high = numbers, numbers
    for axis, spans in enumerate(zip(before, after, strict=True)):
        low = _pooled(low, axis, spans, torch.minimum)
        high = _pooled(high, axis, spans, torch.maximum)
    return low, high


def _pooled(
    array: Tensor, axis: int, spans: tuple[int, int], choose: Callable[..., Tensor]
) -> Tensor:
    """The chosen one of the voxels so far back and so far on along an axis."""
    pooled = array.clone()
    length = array.shape[axis]
    for shift in range(1, min(max(spans), length - 1) + 1):
        stay = length - shift
        for span, to, source in ((spans[0], shift, 0), (spans[1], 0, shift)):
            if shift <= span:
                part = pooled.narrow(axis, to, stay)
                choose(part, array.narrow(axis, source, stay), out=part)
    return pooled


def _columns(logits: Tensor, places: Tensor) -> Tensor:
    """(outputs, planes, ...) at flat places (n,) of the planes -> (outputs, n).

    Where the planes of one output lie side by side in memory, no copy of all of them is made. A
    network that cuts padding off leaves gaps.
    """
    if not logits[0].is_contiguous():
        logits = logits.contiguous()
    planes = logits[0].numel()
    flat = logits.as_strided((len(logits), planes), (logits.stride(0), 1))
    return flat.index_select(1, places)
