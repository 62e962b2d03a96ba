"""How well models of the heart outline scans of other scanners, poses and headers.

    python -m MedLLMSegLib.studies.heart_domains --data ../shared/data/acdc --output runs/domains \\
        --model cardiac-cine-mr --model runs/heart/bundle

Labelled scans of a split are changed in fixed ways (`heart_changes.CHANGES`) and segmented; a row
for each change, a column for each model: the mean Dice of the three structures over patients, and
that of the right ventricle. The scans are real ones of one hospital, changed: what real scans of
another maker give, no change can tell. Of each patient one image is taken, full and empty in turn.
It can be stopped, and goes on where it was: a score is bound to the measured model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Progress, ProgressLog, Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data.acdc import read_hdf5
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.reporting.markdown import table
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model
from MedLLMSegLib.segmentation.pipeline import segment

from .heart_changes import CHANGES, LabelledScan
from .heart_figures import HEART_MODEL, patient_files, patients_of

STRUCTURES = {"right ventricle": 1, "wall": 2, "left ventricle": 3}  # ACDC's labels
TABLE = "tables.md"


def measure(
    data: Path,
    output: Path,
    model: SegmenterModel,
    split: str = "val",
    changes: Sequence[str] = tuple(CHANGES),
    count: int | None = None,
    progress: Report | None = None,
) -> dict[str, list[list[float]]]:
    """Name of each change -> Dice (patients, structures in the order of `STRUCTURES`).

    count: so many patients of the split, its first ones; None for all.
    """
    patients = patients_of(data, split)[:count]
    path = output / f"{split}-{model.sha256[:12]}.json"
    known: Json = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    parts = Progress.of(progress).parts(len(changes))
    for name, part in zip(changes, parts, strict=True):
        scores = known.setdefault(name, {})
        for number, patient in enumerate(patients):
            if patient in scores:
                continue
            part(f"{name}, {patient}", number / len(patients))
            scan = LabelledScan(*read_hdf5(patient_files(data, patient)[number % 2]))
            scores[patient] = _dice(CHANGES[name](scan), model)
            output.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(known))
    return {name: [known[name][patient] for patient in patients] for name in changes}


def _dice(scan: LabelledScan, model: SegmenterModel) -> list[float]:
    """Of each of the `STRUCTURES`; NaN where it is neither labelled nor found."""
    found = segment(scan.image, model)
    return [dice(found.labels.array, scan.labels.array, number) for number in STRUCTURES.values()]


def tables(found: dict[str, dict[str, list[list[float]]]]) -> str:
    """found: model -> what `measure` returns. The last row is the mean over all changes."""
    models = list(found)
    changes = list(found[models[0]])
    head = ["change", *(f"{model}: mean Dice" for model in models)]
    head += [f"{model}: right ventricle" for model in models]
    scores = {name: [np.asarray(found[model][name], float) for model in models] for name in changes}
    body = [_row(name, each) for name, each in scores.items()]
    means = [
        np.stack([np.nanmean(each[number], axis=0) for each in scores.values()])
        for number in range(len(models))
    ]
    body.append(_row("mean of the rows", means))
    return table(head, body) + "\n"


def _row(name: str, scores: Sequence[np.ndarray]) -> list[str]:
    """scores: of each model, (patients or changes, structures)."""
    return [name, *(_mean(each) for each in scores), *(_mean(each[:, :1]) for each in scores)]


def _mean(scores: np.ndarray) -> str:
    return f"{np.nanmean(np.nanmean(scores, axis=1)):.3f}"


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure, and write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of ACDC in HDF5")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--model", action="append", help="an id or a bundle's folder; several may be compared"
    )
    parser.add_argument("--split", default="val", help="default: %(default)s")
    parser.add_argument("--patients", type=int, metavar="N", help="the first N alone")
    parser.add_argument(
        "--only", default="*", metavar="PATTERNS", help="changes, such as 'turned*,gamma*'"
    )
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    options = parser.parse_args(None if arguments is None else list(arguments))
    patterns = options.only.split(",")
    changes = [name for name in CHANGES if any(fnmatch(name, each) for each in patterns)]
    found = {}
    try:
        if not changes:
            raise UserError(f'No change is called "{options.only}"; they are {", ".join(CHANGES)}.')
        for name in options.model or [HEART_MODEL]:
            model = load_model(name, "cpu", options.precision)
            found[name] = measure(
                options.data,
                options.output,
                model,
                options.split,
                changes,
                options.patients,
                ProgressLog(),
            )
    except (UserError, Cancelled, KeyboardInterrupt) as error:
        print(f"heart_domains: {error or 'stopped'}", file=sys.stderr)
        return 2
    text = tables(found)
    write_text(options.output / TABLE, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
