"""Volumetry of a segmentation: mL of each structure, its share of the intracranial volume, how much
larger the left is than the right, and the Dice that the model expects of it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.anatomy.brain import group_place
from MedLLMSegLib.core.quality import GREEN, Quality, ScanQuality
from MedLLMSegLib.core.segmentation import (
    LEAST_EXPECTED_DICE,
    IntracranialVolume,
    Segmentation,
    Structure,
)

CSV_COLUMNS = (
    "name",
    "label",
    "side",
    "group",
    "volume_ml",
    "percent_intracranial",
    "asymmetry_percent",
    "expected_dice",
    "low_ml",
    "high_ml",
    "light",
    "reasons",
)
NOT_AVAILABLE = "not available"


@dataclass(frozen=True)
class StructureVolume:
    """One row of a volumetry.

    percent_intracranial: of the intracranial volume; None where that is not available.
    asymmetry_percent: see `asymmetry_percent`, the same for the left and the right structure; None
    for a structure without a side, and where either side is missing.
    expected_dice: 0 to 1; None where the model expects nothing, and where nothing was found.
    interval_ml: (low, high) that hold the true volume in most scans; None where none is stated.
    quality: the traffic light; None where nothing is known of it.
    """

    structure: Structure
    volume_ml: float
    percent_intracranial: float | None = None
    asymmetry_percent: float | None = None
    expected_dice: float | None = None
    interval_ml: tuple[float, float] | None = None
    quality: Quality | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether this outline is to be looked at first: by its light, or without one by a low
        expected Dice.
        """
        if self.quality is not None:
            return self.quality.light != GREEN
        return self.expected_dice is not None and self.expected_dice < LEAST_EXPECTED_DICE


@dataclass(frozen=True)
class Volumetry:
    """The volumes of one segmentation, one row a structure, in the segmentation's order.

    intracranial: of a model of the whole brain; None for any other. quality: of the scan; None
    where nothing is known of it.
    """

    rows: tuple[StructureVolume, ...]
    intracranial: IntracranialVolume | None = None
    quality: ScanQuality | None = None

    @property
    def has_sides(self) -> bool:
        """Whether any structure has an asymmetry to show."""
        return any(row.asymmetry_percent is not None for row in self.rows)

    @property
    def has_expected_dice(self) -> bool:
        """Whether the model expects a Dice of any structure."""
        return any(row.expected_dice is not None for row in self.rows)

    @property
    def has_intervals(self) -> bool:
        """Whether an interval is stated for any volume."""
        return any(row.interval_ml is not None for row in self.rows)

    @property
    def groups(self) -> list[tuple[str, tuple[StructureVolume, ...]]]:
        """(group, its rows): the brain's in their own order, others in that of their first rows."""
        names = dict.fromkeys(row.structure.group for row in self.rows)
        return [
            (name, tuple(row for row in self.rows if row.structure.group == name))
            for name in sorted(names, key=group_place)
        ]


def volumetry(segmentation: Segmentation) -> Volumetry:
    """The volumes of a segmentation's structures, found or not."""
    voxels = np.bincount(segmentation.labels.array.ravel(), minlength=256)
    voxel_ml = segmentation.labels.grid.voxel_ml
    volumes_ml = {s: float(voxels[s.label] * voxel_ml) for s in segmentation.structures}
    asymmetries = _asymmetries(volumes_ml)
    intracranial = segmentation.intracranial
    whole_ml = intracranial.ml if intracranial else None
    quality = segmentation.quality or ScanQuality()
    rows = tuple(
        StructureVolume(
            structure,
            volume_ml,
            100 * volume_ml / whole_ml if whole_ml else None,
            asymmetries.get(structure.sideless_key) if structure.side else None,
            segmentation.expected_dice.get(structure.label) if volume_ml > 0 else None,
            quality.intervals_ml.get(structure.label) if volume_ml > 0 else None,
            quality.structures.get(structure.label),
        )
        for structure, volume_ml in volumes_ml.items()
    )
    return Volumetry(rows, intracranial, segmentation.quality)


def _asymmetries(volumes_ml: dict[Structure, float]) -> dict[str, float | None]:
    """Key without side -> asymmetry, of every structure that has both sides."""
    by_side = {
        (structure.sideless_key, structure.side): volume_ml
        for structure, volume_ml in volumes_ml.items()
    }
    return {
        key: asymmetry_percent(left_ml, by_side[key, "right"])
        for (key, side), left_ml in by_side.items()
        if side == "left" and (key, "right") in by_side
    }


def asymmetry_percent(left_ml: float, right_ml: float) -> float | None:
    """The asymmetry index 100 (L - R) / ((L + R) / 2): positive where the left is larger.

    None where either side has no voxel, as then a side was not found or not asked for.

    Source: Kurth, Gaser and Luders, Nature Protocols 10 (2015) 293, and Luders et al. (2004) before
    them: the difference over the mean of the two. Some divide by the sum (ENIGMA: Guadalupe et al.,
    Brain Imaging and Behavior 11 (2017) 1497), which is half as large.
    """
    if left_ml <= 0 or right_ml <= 0:
        return None
    return 100 * (left_ml - right_ml) / ((left_ml + right_ml) / 2)


def volumetry_csv(found: Volumetry) -> str:
    """A table with one row a structure, and a last one of the intracranial volume where the model
    knows it. What is not available is an empty cell, but for the volume itself.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in found.rows:
        structure = row.structure
        names = (structure.name, structure.label, structure.side, structure.group)
        numbers = (
            row.volume_ml,
            row.percent_intracranial,
            row.asymmetry_percent,
            row.expected_dice,
            *(row.interval_ml or (None, None)),
        )
        light = (row.quality.light, "; ".join(row.quality.reasons)) if row.quality else ("", "")
        writer.writerow([*names, *_cells(numbers), *light])
    if found.intracranial is not None:
        ml = found.intracranial.ml
        whole = NOT_AVAILABLE if ml is None else round(ml, 4)
        empty = [""] * (len(CSV_COLUMNS) - 5)
        writer.writerow(["Intracranial volume", "", "", "", whole, *empty])
    return text.getvalue()


def _cells(numbers: Sequence[float | None]) -> list[float | str]:
    return ["" if number is None else round(number, 4) for number in numbers]
