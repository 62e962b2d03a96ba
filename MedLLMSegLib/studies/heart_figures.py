"""How far a model's figures of the heart's function are from those of the outlines drawn by hand.

    python -m MedLLMSegLib.studies.heart_figures --data ../shared/data/acdc --output runs/heart

Each patient of the test split has two images, full and empty. Both sets of outlines go through
`measure_heart`. The files hold no spacing, so all mL and g rest on the one that is assumed (see
`MedLLMSegLib.data.acdc`); ejection fractions do not. It can be stopped, and goes on where it was: a
patient's row is bound to the model's weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Progress, ProgressLog, Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import group_of
from MedLLMSegLib.data.acdc import read_hdf5
from MedLLMSegLib.evaluation.scores import read_table
from MedLLMSegLib.metrics.heart_function import figures
from MedLLMSegLib.metrics.measured_heart import MeasuredHeart, measure_heart
from MedLLMSegLib.reporting.markdown import table
from MedLLMSegLib.segmentation.heart import measure_series
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model
from MedLLMSegLib.segmentation.time_series import segment_frames

from .study.page import mean_text

HEART_MODEL = "cardiac-cine-mr"
TABLE = "tables.md"
WALL_ED, WALL_ES = "Wall thickness, end-diastole", "Wall thickness, end-systole"


def run(
    data: Path,
    output: Path,
    model: SegmenterModel,
    patients: Sequence[str],
    progress: Report | None = None,
) -> list[Json]:
    """Measure the patients that are not measured yet; returns the rows of all."""
    rows = []
    for patient, part in zip(patients, Progress.of(progress).parts(len(patients)), strict=True):
        path = output / "rows" / f"{patient}.json"
        row = json.loads(path.read_text()) if path.exists() else {}
        if row.get("weights") != model.sha256:
            row = {"weights": model.sha256, **_row(data, patient, model, part)}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(row))
        rows.append(row)
    return rows


def run_folds(
    data: Path, output: Path, folds: Path, progress: Report | None = None
) -> list[list[Json]]:
    """The rows of each fold's patients, measured with the model that has not seen them.

    folds: of `medllmseg train --folds`: fold1 and so on, each with its bundle and its test.csv.
    """
    tables = sorted(folds.glob("fold*/test.csv"))
    if not tables:
        raise UserError(
            f'"{folds}" holds no fold*/test.csv; give the folder of a finished `medllmseg train'
            " --folds`."
        )
    rows = []
    for path, part in zip(tables, Progress.of(progress).parts(len(tables)), strict=True):
        patients = sorted({group_of(case) for case in read_table(path)})
        model = load_model(path.parent / "bundle", "cpu")
        rows.append(run(data, output / path.parent.name, model, patients, part))
    return rows


def patients_of(data: Path, split: str) -> list[str]:
    """The patients of a split of ACDC."""
    try:
        names: list[str] = json.loads((data / "splits.json").read_text(encoding="utf-8"))[split]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f'"{data}" has no splits.json with a list "{split}"; give the folder of ACDC.'
        ) from error
    return names


def _row(data: Path, patient: str, model: SegmenterModel, progress: Progress) -> Json:
    """{"patient", "by_hand": figures, "found": figures} of one patient."""
    pairs = [read_hdf5(path) for path in patient_files(data, patient)]
    images = np.stack([image.array for image, _ in pairs])
    series = segment_frames(_series(pairs[0][0], images), model, progress=progress)
    return {
        "patient": patient,
        "by_hand": _figures(measure_heart([labels for _, labels in pairs])),
        "found": _figures(measure_series(series)),
    }


def patient_files(data: Path, patient: str) -> list[Path]:
    """A patient's two images, full and empty."""
    files = sorted(data.glob(f"{patient}_frame*.h5"))
    if len(files) != 2:
        raise UserError(f'"{data}" has {len(files)} images of {patient}, and two are needed.')
    return files


def _series(first: Volume, images: np.ndarray) -> Volume:
    return replace(first, array=images)


def _figures(heart: MeasuredHeart) -> dict[str, float | None]:
    """Name -> value of all figures, and the wall's mean thickness."""
    found = {row.name: row.value for row in figures(heart.function)}
    for name, place in ((WALL_ED, 0), (WALL_ES, 1)):
        walls = heart.thickness_mm
        found[name] = None if walls is None else float(np.nanmean(walls[place]))
    return found


UNITS = {"fraction": "points", "mass": "g", "thickness": "mm"}


def unit_of(name: str) -> str:
    """In which a figure's errors are given."""
    return next((unit for word, unit in UNITS.items() if word in name), "mL")


def errors(rows: Sequence[Json], name: str) -> np.ndarray:
    """Found minus by hand, of the patients for whom both are there."""
    pairs = [(row["found"].get(name), row["by_hand"].get(name)) for row in rows]
    return np.array([a - b for a, b in pairs if a is not None and b is not None])


def tables(rows: Sequence[Json]) -> str:
    """A row for each figure: the error's mean, and the mean of its size, with 95 % intervals."""
    names = list(rows[0]["by_hand"])
    body = []
    for name in names:
        off = errors(rows, name)
        if len(off):
            cells = [mean_text(off, 1, has_sign=True), mean_text(np.abs(off), 1)]
            body.append([name, str(len(off)), unit_of(name), *cells])
    return (
        table(["figure", "patients", "unit", "error (found - by hand)", "absolute error"], body)
        + "\n"
    )


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure, and write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of ACDC in HDF5")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default=HEART_MODEL, help="an id or a bundle's folder")
    parser.add_argument("--split", default="test", help="default: %(default)s")
    parser.add_argument(
        "--folds",
        type=Path,
        metavar="RUN",
        help="the patients of all folds of a cross-validation instead, each with its fold's model",
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        if options.folds is not None:
            found = run_folds(options.data, options.output, options.folds, ProgressLog())
            rows = [row for fold in found for row in fold]
        else:
            model = load_model(options.model, "cpu")
            patients = patients_of(options.data, options.split)
            rows = run(options.data, options.output, model, patients, ProgressLog())
    except (UserError, Cancelled, KeyboardInterrupt) as error:
        print(f"heart_figures: {error or 'stopped'}", file=sys.stderr)
        return 2
    text = tables(rows)
    write_text(options.output / TABLE, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
