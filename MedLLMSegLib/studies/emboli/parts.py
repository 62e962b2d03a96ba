"""Which part of a scan trains, which chooses the threshold, and which tests.

The sides of the body are apart by a strip that no middle of a window lies in, so that no window of
one side shows a voxel of the other side's windows. Within the side that trains, a slab of slices
is kept from the training in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array

from .study_names import SIDES
from .windows import MARGINS, SIDE, SLICES

SLAB = (0.55, 0.72)  # of the slices from below: arteries of all sizes run through it


@dataclass(frozen=True, eq=False)
class Parts:
    """Bool [k, j, i] masks of where windows may have their middle."""

    train: Array
    val: Array
    test: Array

    @property
    def chosen_on(self) -> Array:
        """Where the threshold is chosen: all but the test's side."""
        return self.train | self.val


def parts_of(label: Array, trains: str) -> Parts:
    """The parts where one side of `SIDES` trains and the other is tested. label: of the artery,
    whose middle parts the sides; i leads to the right.
    """
    columns = np.flatnonzero(label.any(axis=(0, 1)))
    middle = int(columns[0] + columns[-1] + 1) // 2
    first_right = middle + SIDE // 2
    last_left = first_right - SIDE
    count = label.shape[0]
    k, _, i = np.ogrid[tuple(slice(n) for n in label.shape)]
    sides = {"left": np.broadcast_to(i <= last_left, label.shape)}
    sides["right"] = np.broadcast_to(i >= first_right, label.shape)
    low, high = (round(share * count) for share in SLAB)
    slab = (k >= low) & (k < high)
    rest = (k <= low - SLICES) | (k >= high + SLICES - 1)
    test = sides[SIDES[1 - SIDES.index(trains)]].copy()
    own = sides[trains]
    # The sides of the image, where a window would show voxels that are not there:
    inner = (k >= MARGINS[0]) & (k < count - MARGINS[0])
    parts = Parts(own & rest & inner, own & slab & inner, test & inner)
    if not all(mask.any() for mask in (parts.train, parts.val, parts.test)):
        raise UserError(
            "The scan is too small around the pulmonary artery to train in one part of it and test"
            " in another; load a CT of the whole chest."
        )
    return parts
