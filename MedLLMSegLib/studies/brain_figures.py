"""How good the model of the whole brain is, on images that took no part in its training.

    python -m MedLLMSegLib.studies.brain_figures --data ../shared/data --output runs/brain-figures

It can be stopped at any moment and continues where it was. Several processes may share the work on
one folder, each with --only; the tables are of what is finished. A scan's row is bound to the
model's weights: another model measures anew. `--only "val/*"` measures heads of the val maps, and
with --calibration FILE writes from them what Dice a confidence is worth, for `medllmseg bundle
BUNDLE --calibration FILE`.

Sets: "oasis", brains without a skull whose structures were drawn by hand, and what contrast, bias
and thick slices do to them; "synthetic", heads drawn from the label maps kept for the test;
"elderly", T1 and FLAIR of the same old people, with another program's labels of the T1.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.anatomy.brain import brain_label_table
from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Progress, ProgressLog, Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.segmentation.expected_dice import fit_lines
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model
from MedLLMSegLib.segmentation.pipeline import segment

from .brain_scans import Scan, scans
from .brain_tables import deep_dice, of_set, tables

TABLE = "tables.md"

SegmentScan = Callable[[Volume, float | None], Segmentation]


def run(
    data: Path,
    output: Path,
    segment_scan: SegmentScan,
    weights: str,
    only: str = "*",
    progress: Report | None = None,
) -> list[Json]:
    """Measure what is not measured yet; returns the rows of all that are.

    segment_scan: (scan, resolution_mm) -> result. weights: sha256 of the model's. only: of the
    scans' names.
    """
    report = Progress.of(progress)
    chosen = [scan for scan in scans(data) if fnmatch.fnmatchcase(scan.name, only)]
    if not chosen:
        raise UserError(f'No scan is called "{only}"; names are such as oasis/oasis_1000/as it is.')
    for scan, part in zip(chosen, report.parts(len(chosen)), strict=True):
        path = row_file(output, scan.name)
        if not (path.exists() and json.loads(path.read_text())["weights"] == weights):
            part(scan.name, 0.0)
            row = {"scan": scan.name, "weights": weights, **measured(scan, segment_scan)}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(row))
    rows = [json.loads(path.read_text()) for path in sorted((output / "rows").glob("*.json"))]
    return [row for row in rows if row["weights"] == weights]


def row_file(output: Path, name: str) -> Path:
    """The file of a scan's row."""
    return output / "rows" / f"{name.replace('/', '-').replace(' ', '_')}.json"


def measured(scan: Scan, segment_scan: SegmentScan) -> Json:
    """Volumes, confidences and, with labels, Dice and the sides of one scan."""
    volume, truth = scan.read()
    began = time.process_time()
    try:
        result = segment_scan(volume, scan.resolution_mm)
    except UserError as error:
        return _refused(scan, truth, str(error), time.process_time() - began)
    seconds = time.process_time() - began
    found, voxel_ml = result.labels.array, float(result.labels.grid.voxel_ml)
    row: Json = {
        "person": scan.person,
        "cpu_s": round(seconds, 2),
        "volumes_ml": volumes_ml(found, voxel_ml),
        "confidence": {label: float(value) for label, value in result.confidence.items()},
        "precision": result.precision,
    }
    if truth is None:
        return row
    if found.shape != truth.shape:
        raise UserError(f"{scan.name}: the result is {found.shape}, its labels are {truth.shape}.")
    numbers = sorted(int(n) for n in np.unique(truth) if n)
    return row | {
        "dice": {n: dice(found, truth, n) for n in numbers},
        "true_ml": volumes_ml(truth, voxel_ml),
        "mixed_percent": mixed_percent(found, truth),
    }


def _refused(scan: Scan, truth: NDArray[np.uint8] | None, why: str, seconds: float) -> Json:
    """The row of a scan that was refused: it counts as nothing found."""
    there = {} if truth is None else volumes_ml(truth, 1.0)
    return {
        "person": scan.person,
        "refused": why,
        "cpu_s": round(seconds, 2),
        "volumes_ml": {},
        "confidence": {},
        "dice": dict.fromkeys(there, 0.0),
        "true_ml": there,
    }


def volumes_ml(labels: Array, voxel_ml: float) -> dict[int, float]:
    """Label -> mL, of all labels that are there."""
    counts = np.bincount(labels.ravel())
    return {int(n): float(counts[n] * voxel_ml) for n in np.flatnonzero(counts) if n}


def mixed_percent(found: Array, truth: Array) -> float:
    """Of the voxels where the right structure was found, how many percent are of the other side."""
    right = wrong = 0
    for own_and_other in brain_label_table():
        for own, other in (own_and_other, own_and_other[::-1]):
            if own == other:
                continue
            of_own = found[truth == own]
            right += int((of_own == own).sum())
            wrong += int((of_own == other).sum())
    return 100 * wrong / max(1, right + wrong)


def calibration(rows: Sequence[Json]) -> Json:
    """The lines from confidence to Dice of each structure, both sides together, from the val rows.

    Structures that were found and are there count.
    """
    chosen = [row for row in rows if row["scan"].startswith("val/")]
    sides = {int(n): int(left) for left, right in brain_label_table()[1:] for n in (left, right)}
    points: dict[int, list[tuple[float, float]]] = {left: [] for left in sides.values()}
    for row in chosen:
        for number, left in sides.items():
            dice, sure = (row[name].get(str(number), math.nan) for name in ("dice", "confidence"))
            if math.isfinite(dice) and math.isfinite(sure):
                points[left].append((sure, dice))
    of_left = fit_lines(points)
    lines = {number: of_left[left] for number, left in sides.items() if left in of_left}
    if not lines:
        raise UserError('There are too few rows of val heads; measure --only "val/*" first.')
    return {"temperature": 1.0, "dice_lines": lines, "dice_lines_images": len(chosen)}


def draw_pictures(
    rows: Sequence[Json], data: Path, segment_scan: SegmentScan, folder: Path
) -> None:
    """Pictures of the best, the median and the worst synthetic test head, by their deep structures:
    FOLDER/brain-best.png and so on. Heads that were refused have none. Needs matplotlib.
    """
    from MedLLMSegLib.reporting.group_pictures import group_slices
    from MedLLMSegLib.reporting.structure_masks import structure_masks

    outlined = [row for row in of_set(rows, "synthetic") if "refused" not in row]
    ranked = sorted(outlined, key=deep_dice)
    if not ranked:
        raise UserError('There are no rows of synthetic heads; measure --only "synthetic/*" first.')
    by_name = {scan.name: scan for scan in scans(data)}
    folder.mkdir(parents=True, exist_ok=True)
    for title, place in (("best", -1), ("median", len(ranked) // 2), ("worst", 0)):
        row = ranked[place]
        volume, _truth = by_name[row["scan"]].read()
        masks = structure_masks(segment_scan(volume, None))
        _title, figure = next(group_slices(volume, masks))
        figure.savefig(folder / f"brain-{title}.png", dpi=100, facecolor=figure.get_facecolor())
        print(f"{title}: {row['scan']}, Dice {deep_dice(row):.3f}")


def segmenting(model: SegmenterModel) -> SegmentScan:
    """`segment` with a model."""
    return lambda scan, resolution_mm: segment(scan, model, resolution_mm=resolution_mm)


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure, and write and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the shared data")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="brain-mr", help="an id or a bundle's folder")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--only", default="*", metavar="PATTERN", help='such as "oasis/*"')
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="to write, of val heads")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="for those of the best, median and worst"
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        model = load_model(options.model, "cpu", options.precision)
        rows = run(
            options.data,
            options.output,
            segmenting(model),
            model.sha256,
            options.only,
            ProgressLog(),
        )
        if options.pictures is not None:
            draw_pictures(rows, options.data, segmenting(model), options.pictures)
        if options.calibration is not None:
            found = calibration(rows) | {"weights_sha256": model.entry.sha256}
            write_text(options.calibration, json.dumps(found))
    except (UserError, Cancelled, KeyboardInterrupt) as error:
        print(f"brain_figures: {error or 'stopped'}", file=sys.stderr)
        return 2
    text = tables(rows, model.dice_lines)
    write_text(options.output / TABLE, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
