"""The shapes of LIDC's nodules, without their images, and which patients' are learnt from."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array

# The two whose scans are here: their nodules are what is found at the end.
HELD_BACK = ("LIDC-IDRI-0001", "LIDC-IDRI-0314")
SOLID = 4.0  # of 5, the readers' mean rating of texture: the measured densities are of solid ones
READERS = 2  # at least, who outlined it
DIAMETERS_MM = (4.0, 30.0)
BINS_MM = (4.0, 6.0, 10.0, 20.0, 30.0)


@dataclass(frozen=True, eq=False)
class NoduleShape:
    """mask: bool [k, j, i], where half of the readers or more outlined it."""

    number: int
    patient: str
    mask: Array
    spacing_mm: tuple[float, float, float]
    diameter_mm: float

    @property
    def size(self) -> int:
        """Which of the ranges of `BINS_MM` it falls into."""
        return int(np.clip(np.searchsorted(BINS_MM, self.diameter_mm, "right") - 1, 0, 3))


def part_of(patient: str) -> str:
    """ "train", "val" or "test", by the patient's number; "held back" for the two of the scans."""
    if patient in HELD_BACK:
        return "held back"
    last = int(patient[-1])
    return "train" if last < 6 else "val" if last == 6 else "test"


def read_shapes(folder: Path) -> dict[str, list[NoduleShape]]:
    """Part -> solid nodules of 4 to 30 mm that two readers or more outlined.

    folder: with counts.npz and nodules.csv. Raises `UserError` where they are not there.
    """
    table, counts = folder / "nodules.csv", folder / "counts.npz"
    if not (table.is_file() and counts.is_file()):
        raise UserError(
            f'"{folder}" has no nodules.csv and counts.npz; give the data folder with lidc_nodules.'
        )
    voxels = np.load(counts)["counts"]
    parts: dict[str, list[NoduleShape]] = {"train": [], "val": [], "test": []}
    with table.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            part = part_of(row["patient"])
            if part in parts and _taken(row):
                parts[part].append(_shape(row, voxels))
    return parts


def _taken(row: dict[str, str]) -> bool:
    low, high = DIAMETERS_MM
    return (
        int(row["readers"]) >= READERS
        and float(row["texture"]) >= SOLID
        and low <= float(row["diameter_mm"]) <= high
    )


def _shape(row: dict[str, str], voxels: Array) -> NoduleShape:
    size = tuple(int(row[name]) for name in ("nz", "ny", "nx"))
    begin = int(row["offset"])
    outlined = voxels[begin : begin + int(np.prod(size))].reshape(size)
    xy, z = float(row["spacing_xy"]), float(row["spacing_z"])
    return NoduleShape(
        int(row["nodule"]),
        row["patient"],
        2 * outlined >= int(row["readers"]),
        (z, xy, xy),
        float(row["diameter_mm"]),
    )
