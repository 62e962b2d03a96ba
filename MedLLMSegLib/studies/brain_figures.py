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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.anatomy.brain import brain_label_table
from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.geometry import Grid, sub_grid
from MedLLMSegLib.core.progress import Progress, ProgressLog, Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case
from MedLLMSegLib.evaluation.labelled_cases import LabelledCases, labelled_cases
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.segmentation.expected_dice import fit_lines
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model
from MedLLMSegLib.segmentation.pipeline import segment
from MedLLMSegLib.training.synthesis.head_maps import RIGHT, label_map_file, load_head_map
from MedLLMSegLib.training.synthesis.pose import PoseConfig
from MedLLMSegLib.training.synthesis.sample import SynthesisConfig, draw_head

from .brain_tables import deep_dice, of_set, tables

SYNTHETIC_IMAGES, VAL_IMAGES = 50, 24
SYNTHETIC_SHAPE = (208, 224, 192)  # voxels of 1 mm: a whole head with some of the neck
SYNTHETIC_SEED = 20_000_003  # of the first image, far from those of training and val
VAL_SEED = 30_000_001
SLICE_MM = 5
TABLE = "tables.md"

LabelledScan: TypeAlias = tuple[Volume, NDArray[np.uint8]]  # labels: FreeSurfer's, on its grid
SegmentScan = Callable[[Volume, float | None], Segmentation]


@dataclass(frozen=True)
class Scan:
    """One scan to measure.

    name: "set/case/condition", of its row. person: whose scan it is. read: () -> (scan, its labels
    in FreeSurfer's numbers on the scan's grid or None). resolution_mm: of the result.
    """

    name: str
    person: str
    read: Callable[[], tuple[Volume, NDArray[np.uint8] | None]]
    resolution_mm: float | None = None


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


# ---- the scans ----


def scans(data: Path) -> Iterator[Scan]:
    """All that are measured."""
    yield from oasis_scans(data / "oasis_brains")
    yield from elderly_scans(data / "elderly_heads")
    maps = data / "brain_labelmaps"
    yield from synthetic_scans(maps, "synthetic", "test", SYNTHETIC_IMAGES, SYNTHETIC_SEED)
    yield from synthetic_scans(maps, "val", "val", VAL_IMAGES, VAL_SEED)


def oasis_scans(folder: Path) -> Iterator[Scan]:
    """Brains with labels by hand: as they are, of other contrast, and in thick slices."""
    labelled = labelled_cases(folder, numbering="neuromorphometrics")
    for case in labelled.cases:
        read = partial(_read, labelled, case)
        for condition, change in CHANGES.items():
            changed = partial(_changed, read, change)
            yield Scan(f"oasis/{case.id}/{condition}", case.group, changed)
        for axis, name in enumerate(("k", "j", "i")):
            thick = partial(_thick, read, axis)
            yield Scan(f"oasis/{case.id}/{SLICE_MM} mm along {name}", case.group, thick, 1.0)


def _read(labelled: LabelledCases, case: Case) -> LabelledScan:
    scan = load_volume(case.image)
    return scan, labelled.truth(case, scan)


def _changed(read: Callable[[], LabelledScan], change: Callable[[Array], Array]) -> LabelledScan:
    scan, labels = read()
    return scan.with_array(change(scan.array.astype(np.float32))), labels


def _thick(read: Callable[[], LabelledScan], axis: int) -> LabelledScan:
    return in_thick_slices(*read(), axis)


def _bias(array: Array) -> Array:
    """A smooth field from 0.6 to 1.4 along the diagonal."""
    k, j, i = np.ix_(*(np.linspace(-1, 1, n, dtype=np.float32) for n in array.shape))
    biased: Array = array * (1 + 0.4 * (k + j + i) / 3)
    return biased


def _of_range(array: Array) -> tuple[Array, float]:
    """(0 to 1, the highest value), by the 99.9th percentile."""
    high = float(np.percentile(array, 99.9))
    return np.clip(array / high, 0, 1), high


def _gamma(array: Array, exponent: float) -> Array:
    values, high = _of_range(array)
    result: Array = high * values**exponent
    return result


def _inverted(array: Array) -> Array:
    """Bright becomes dark inside the brain; air stays dark."""
    values, high = _of_range(array)
    return np.where(array > 0, high * (1.05 - values), 0).astype(np.float32)


CHANGES: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda array: array,
    "inverted": _inverted,
    "gamma 0.5": lambda array: _gamma(array, 0.5),
    "gamma 2": lambda array: _gamma(array, 2.0),
    "bias": _bias,
}


def in_thick_slices(
    scan: Volume, labels: NDArray[np.uint8], axis: int
) -> tuple[Volume, NDArray[np.uint8]]:
    """Means over slices of `SLICE_MM` along an axis of (k, j, i), and the labels at 1 mm of what
    they cover.
    """
    whole = scan.array.shape[axis] // SLICE_MM
    box = [slice(0, n) for n in scan.array.shape]
    box[axis] = slice(0, whole * SLICE_MM)
    k, j, i = box
    array = np.moveaxis(scan.array[k, j, i].astype(np.float32), axis, 0)
    thick = np.moveaxis(array.reshape(whole, SLICE_MM, *array.shape[1:]).mean(axis=1), 0, axis)
    fine = sub_grid(scan.grid, (k, j, i))
    matrix = fine.ijk_to_ras.copy()
    column = 2 - axis  # matrices act on (i, j, k)
    matrix[:3, 3] += matrix[:3, column] * (SLICE_MM - 1) / 2
    matrix[:3, column] *= SLICE_MM
    grid = Grid((thick.shape[0], thick.shape[1], thick.shape[2]), matrix)
    image = replace(scan, array=thick, ijk_to_ras=grid.ijk_to_ras, forms=None)
    return image, labels[k, j, i]


def elderly_scans(folder: Path) -> Iterator[Scan]:
    """T1 and FLAIR of the same people."""
    if not (folder / "t1").is_dir():
        return
    labelled = labelled_cases(folder / "t1", numbering="muse")
    for case in labelled.cases:
        yield Scan(f"elderly/{case.id}/T1", case.id, partial(_read, labelled, case))
        flair = folder / "flair" / Path(case.image).name
        yield Scan(f"elderly/{case.id}/FLAIR", case.id, partial(_unlabelled, flair))


def _unlabelled(path: Path) -> tuple[Volume, None]:
    return load_volume(path), None


def synthetic_scans(
    folder: Path, set_name: str, split: str, images: int, first_seed: int
) -> Iterator[Scan]:
    """Whole heads drawn from the label maps of a split."""
    names = json.loads((folder / "splits.json").read_text(encoding="utf-8"))[split]
    for number in range(images):
        name = names[number % len(names)]

        def draw(name: str = name, number: int = number) -> tuple[Volume, NDArray[np.uint8]]:
            return synthetic_head(folder, name, first_seed + number)

        yield Scan(f"{set_name}/{name}/{number:02d}", name, draw)


def synthetic_head(folder: Path, name: str, seed: int) -> tuple[Volume, NDArray[np.uint8]]:
    """A head as training draws them, but whole and uncut."""
    config = SynthesisConfig(
        shape=SYNTHETIC_SHAPE, cut=0.0, pose=PoseConfig(shift_mm=(15.0, 10.0, 10.0))
    )
    head = draw_head([load_head_map(label_map_file(folder, name))], seed, config)
    on_the_right = (head.sides == RIGHT).numpy().astype(np.intp)
    labels = brain_label_table()[head.structures.numpy(), on_the_right]
    return Volume(head.image.numpy(), np.eye(4), f"synthetic {seed}"), labels


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
