"""What `medllmseg segment` prints of its results: files, volumes, notes and licences."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.quality import Quality
from MedLLMSegLib.core.types import Json

if TYPE_CHECKING:
    from MedLLMSegLib.edge.scan_files import ExportedResult
    from MedLLMSegLib.segmentation.batch.volumes_table import ScanResult

logger = logging.getLogger("medllmseg")


def print_results(
    results: Sequence[ScanResult] | Sequence[ExportedResult], table: Path | None
) -> None:
    """What became of each scan, with volumes. A closed pipe (| head) does not change the exit
    code.

    table: over all scans; None for a single output file.
    """
    try:
        for result in results:
            _print_result(result)
        _print_licences(results)
        if table is not None:
            _print_counts(results, table)
        sys.stdout.flush()
    except BrokenPipeError:
        logger.info("nobody reads the output any more")


def _print_result(result: ScanResult | ExportedResult) -> None:
    if result.status == "failed":
        print(f"{result.scan}: failed: {result.message}", file=sys.stderr)
        return
    record = result.record
    skipped = result.status == "skipped"
    print(
        f"{result.scan}: "
        + ("finished before, skipped" if skipped else f"{record['seconds']:.1f} s")
    )
    width = max((len(str(s["label"])) for s in record["structures"]), default=1)
    if "quality" in record:
        print(f"  quality: {_light_text(record['quality'])}")
    for structure in record["structures"]:
        print(_structure_line(structure, width))
    if "intracranial" in record:
        print(_intracranial_line(record["intracranial"]))
    for note in record["notes"]:
        print(f"  note: {note}")
    for path in record["files"]:
        print(f"  -> {path}")


def _intracranial_line(whole: Json) -> str:
    if whole["volume_ml"] is None:
        return f"  intracranial volume not available: {whole['why_not']}"
    return f"  intracranial volume {whole['volume_ml']:.0f} mL"


def _structure_line(structure: Json, width: int) -> str:
    """A row of a record's structures: label, name, volume and the model's confidence.

    width: of the longest label value.
    """
    name, volume_ml = f"{structure['name']:<32}", f"{structure['volume_ml']:7.2f} mL"
    line = f"  {structure['label']:>{width}}  {name} {volume_ml}"
    if "interval_ml" in structure:
        low, high = structure["interval_ml"]
        line += f" ({low:.2f} to {high:.2f})"
    if "range_ml" in structure:
        low, high = structure["range_ml"]
        line += f" ({low:.2f} to {high:.2f} in {structure['images']} images, mean in front)"
    if structure["confidence"] is not None:
        line += f"   mean confidence {structure['confidence']:.2f}"
    if "expected_dice" in structure:
        line += f"   expected Dice {structure['expected_dice']:.2f}"
    if "light" in structure:
        line += f"   {structure['light']}"
        if structure["reasons"]:
            line += f": {'; '.join(structure['reasons'])}"
    return line


def _light_text(quality: Json) -> str:
    """Such as "amber (look closely): ..."; in brackets behind a volume stands its interval."""
    return Quality(quality["light"], tuple(quality["reasons"])).in_words


def _print_licences(results: Sequence[ScanResult] | Sequence[ExportedResult]) -> None:
    records = [result.record for result in results if result.record]
    for model, licence in sorted({(record["model"], record["licence"]) for record in records}):
        print(f"model {model}: licence {licence}; research use only, not a medical device")


def _print_counts(results: Sequence[ScanResult] | Sequence[ExportedResult], table: Path) -> None:
    count = Counter(result.status for result in results)
    print(
        f"{count['done']} segmented, {count['skipped']} skipped, {count['failed']} failed ->"
        f" {table}"
    )
