"""Grey values to what a reader sees, 0 (black) to 1 (white): windows, look-up tables, and
percentiles where there are none.

Source: DICOM PS3.3, C.11.1 (modality LUT) and C.11.2 (VOI LUT: windows, their functions, look-up
tables).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LINEAR, EXACT, SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"
PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Window:
    """A window of grey values, in units of the image after its rescaling. function: DICOM's VOI
    LUT function.
    """

    center: float
    width: float
    function: str = LINEAR
    name: str = ""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """float32 of the same shape, 0 to 1."""
        x = np.asarray(values, np.float32)
        if self.function == SIGMOID:
            return 1 / (1 + np.exp(-4 * (x - np.float32(self.center)) / np.float32(self.width)))
        if (
            self.function == EXACT or self.width <= 1
        ):  # DICOM's own linear function needs a width above 1
            scaled = (x - np.float32(self.center)) / np.float32(self.width) + np.float32(0.5)
        else:
            scaled = (x - np.float32(self.center - 0.5)) / np.float32(self.width - 1) + np.float32(
                0.5
            )
        return np.clip(scaled, 0, 1)

    def __str__(self) -> str:
        return (
            f"{f'{self.name}, ' if self.name else ''}center {self.center:g}, width {self.width:g}"
        )


@dataclass(frozen=True, eq=False)
class Lut:
    """A look-up table. first: the grey value of its first entry. values: unsigned integers.
    bits: of an entry.
    """

    first: int
    values: np.ndarray
    bits: int
    name: str = ""

    def entries(self, values: np.ndarray) -> np.ndarray:
        """What the table says to each grey value; those beyond its ends get its first or last
        entry.
        """
        places = np.clip(
            np.rint(np.asarray(values, np.float64)).astype(np.int64) - self.first,
            0,
            len(self.values) - 1,
        )
        return self.values[places]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """float32 of the same shape, 0 to 1."""
        return np.clip(self.entries(values).astype(np.float32) / (2**self.bits - 1), 0, 1)

    def __str__(self) -> str:
        return f"{self.name or 'look-up table'}, {len(self.values)} entries"


def percentile_window(values: np.ndarray) -> Window:
    """The window from the 0.5th to the 99.5th percentile of some values; their whole range where
    these two are equal.
    """
    low, high = np.percentile(values, PERCENTILES)
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return Window(float(low + high) / 2, float(high - low), EXACT)
