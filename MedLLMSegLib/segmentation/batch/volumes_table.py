"""The table of a batch, one row a scan: the volumes of all its structures side by side; and what
the records keep for it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.volumetry import NOT_AVAILABLE, volumetry
from MedLLMSegLib.segmentation.time_series import SeriesSegmentation

from .scan_quality import quality_cells

TABLE = "volumes.csv"
FIRST_COLUMNS = ("scan", "status", "model")


@dataclass(frozen=True)
class ScanResult:
    """The outcome of one scan.

    status: "done", "skipped" or "failed". record: the content of its record file.
    """

    scan: Path
    status: str
    record: Json
    message: str = ""


def structure_shares(result: Segmentation | SeriesSegmentation) -> dict[str, Json]:
    """What the record of a structure adds in a model of the whole brain, by the structure's key:
    its percent of the intracranial volume and its asymmetry. {} for any other model.
    """
    if not isinstance(result, Segmentation) or result.intracranial is None:
        return {}
    return {
        row.structure.key: {
            "sideless_key": row.structure.sideless_key,
            "percent_intracranial": _rounded(row.percent_intracranial),
            "asymmetry_percent": _rounded(row.asymmetry_percent),
        }
        for row in volumetry(result).rows
    }


def intracranial_entry(result: Segmentation | SeriesSegmentation) -> Json:
    """What the record of a scan adds in a model of the whole brain; {} for any other."""
    if not isinstance(result, Segmentation) or result.intracranial is None:
        return {}
    whole = result.intracranial
    return {"intracranial": {"volume_ml": _rounded(whole.ml), "why_not": whole.why_not}}


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def volumes_csv(results: Sequence[ScanResult]) -> str:
    """A table with one row a scan: scan, status, model, mL of each structure, message.

    Of a series the mL are the mean of its images. Scans by a model of the whole brain add, before
    the message, the intracranial volume, each structure's percent of it, and the asymmetry of each
    pair; scans by a model that expects a Dice, that of each structure; and scans of which the
    quality is known, lights, reasons and intervals (`quality_cells`).
    """
    rows = [_volumes(result.record) for result in results]
    shares = [
        _shares(result.record) | _expected(result.record) | quality_cells(result.record)
        for result in results
    ]
    columns, share_columns = _columns(rows), _columns(shares)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIRST_COLUMNS, *columns, *share_columns, "message"])
    for result, volumes, share in zip(results, rows, shares, strict=True):
        cells = [volumes.get(column, "") for column in columns]
        cells += [share.get(column, "") for column in share_columns]
        model = result.record.get("model", "")
        writer.writerow([result.scan, result.status, model, *cells, result.message])
    return text.getvalue()


def _columns(rows: Sequence[Json]) -> list[str]:
    """The columns that any row has, in order."""
    return list(dict.fromkeys(column for row in rows for column in row))


def _volumes(record: Json) -> Json:
    return {f"{s['key']}_ml": s["volume_ml"] for s in record.get("structures", [])}


def _shares(record: Json) -> Json:
    """Column -> cell, of a record by a model of the whole brain; {} for any other."""
    whole = record.get("intracranial")
    if whole is None:
        return {}
    ml = whole["volume_ml"]
    cells: Json = {"intracranial_ml": NOT_AVAILABLE if ml is None else ml}
    for structure in record["structures"]:
        cells[f"{structure['key']}_percent"] = _cell(structure["percent_intracranial"])
    for structure in record["structures"]:
        key = structure["sideless_key"]
        if key != structure["key"]:
            cells[f"{key}_asymmetry_percent"] = _cell(structure["asymmetry_percent"])
    return cells


def _expected(record: Json) -> Json:
    """Column -> cell, of a record by a model that expects a Dice; {} for any other. Old records
    have none.
    """
    return {
        f"{structure['key']}_expected_dice": structure["expected_dice"]
        for structure in record.get("structures", [])
        if "expected_dice" in structure
    }


def _cell(number: float | None) -> float | str:
    return "" if number is None else number
