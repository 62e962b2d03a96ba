"""Grey values to what a reader sees, from 0 (black) to 1 (white).

Windows and look-up tables do this, and percentiles where the image has neither.
Source: DICOM PS3.3, C.11.1 (modality LUT) and C.11.2 (VOI LUT: windows, their functions, look-up
tables).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .types import Array

LINEAR, EXACT, SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"
PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Window:
    """A window of grey values.

    center, width: in units of the image after its rescaling. function: DICOM's VOI LUT function.
    name: DICOM's explanation of it, or "".
    """

    center: float
    width: float
    function: str = LINEAR
    name: str = ""

    def __call__(self, values: ArrayLike) -> NDArray[np.float32]:
        """float32 of the same shape, 0 to 1."""
        x = np.asarray(values, np.float32)
        width = np.float32(self.width)
        if self.function == SIGMOID:
            sigmoid: NDArray[np.float32] = 1 / (
                1 + np.exp(-4 * (x - np.float32(self.center)) / width)
            )
            return sigmoid
        # DICOM's own linear function needs a width above 1.
        if self.function == EXACT or self.width <= 1:
            fraction = (x - np.float32(self.center)) / width
        else:
            fraction = (x - np.float32(self.center - 0.5)) / np.float32(self.width - 1)
        shown: NDArray[np.float32] = np.clip(fraction + np.float32(0.5), 0, 1)
        return shown

    def __str__(self) -> str:
        prefix = f"{self.name}, " if self.name else ""
        return f"{prefix}center {self.center:g}, width {self.width:g}"


@dataclass(frozen=True, eq=False)
class Lut:
    """A look-up table.

    first: the grey value that gets the first entry. values: the entries, unsigned integers.
    bits: of one entry. name: DICOM's explanation of it, or "".
    """

    first: int
    values: Array
    bits: int
    name: str = ""

    def entries(self, values: ArrayLike) -> Array:
        """The table's entry for each grey value.

        Grey values beyond the table's ends get its first or last entry.
        """
        indices = np.rint(np.asarray(values, np.float64)).astype(np.int64) - self.first
        entries: Array = self.values[np.clip(indices, 0, len(self.values) - 1)]
        return entries

    def __call__(self, values: ArrayLike) -> NDArray[np.float32]:
        """float32 of the same shape, 0 to 1."""
        fraction = self.entries(values).astype(np.float32) / (2**self.bits - 1)
        shown: NDArray[np.float32] = np.clip(fraction, 0, 1)
        return shown

    def __str__(self) -> str:
        return f"{self.name or 'look-up table'}, {len(self.values)} entries"


def percentile_window(values: Array) -> Window:
    """The window from the 0.5th to the 99.5th percentile of some values.

    It spans their whole range if these two percentiles are equal.
    """
    low, high = np.percentile(values, PERCENTILES)
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return Window(float(low + high) / 2, float(high - low), EXACT)
