"""What the record of a scan, and the table of a batch, say of its quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from MedLLMSegLib.core.quality import ScanQuality
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Json

if TYPE_CHECKING:  # it needs torch, which is not there for an exported model
    from MedLLMSegLib.segmentation.time_series import SeriesSegmentation


def quality_entry(result: Segmentation | SeriesSegmentation) -> Json:
    """The light of a scan and its reasons; {} where nothing is known of it.

    The light of a series is that of its worst image, and the reasons name the images.
    """
    quality = result.quality if isinstance(result, Segmentation) else _of_series(result)
    if quality is None:
        return {}
    scan = quality.scan
    return {"quality": {"light": scan.light, "reasons": list(scan.reasons), "level": quality.level}}


def structure_quality(result: Segmentation, label: int) -> Json:
    """What the record of a structure adds: light, reasons, and an interval of its volume."""
    if result.quality is None or label not in result.quality.structures:
        return {}
    light = result.quality.structures[label]
    entry: Json = {"light": light.light, "reasons": list(light.reasons)}
    if label in result.quality.intervals_ml:
        entry["interval_ml"] = [round(ml, 4) for ml in result.quality.intervals_ml[label]]
    return entry


def _of_series(series: SeriesSegmentation) -> ScanQuality | None:
    return None if series.light is None else ScanQuality(series.light)


def quality_cells(record: Json) -> Json:
    """Column -> cell of the table of a batch: the scan's light and reasons, and each structure's
    light and interval; {} for a record that says nothing of it.
    """
    if "quality" not in record:
        return {}
    scan = record["quality"]
    cells: Json = {"light": scan["light"], "light_reasons": "; ".join(scan["reasons"])}
    for structure in record["structures"]:
        if "light" in structure:
            cells[f"{structure['key']}_light"] = structure["light"]
        if "interval_ml" in structure:
            low, high = structure["interval_ml"]
            cells[f"{structure['key']}_low_ml"], cells[f"{structure['key']}_high_ml"] = low, high
    return cells
