"""Every figure of a model's card, measured anew and written into its bundle; its weights stay.

    medllmseg remeasure MODEL --data DIR

What belongs to a model that ships stands in `MEASURES`; of any other model everything is measured
that its card may say. The figures of a cross-validation stay: they are the recipe's, of weights
that nobody kept.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.data.acdc import convert_acdc
from MedLLMSegLib.diagnosis.classifier_bundle import update_classifier
from MedLLMSegLib.evaluation.evaluate_classifier import evaluate_classifier
from MedLLMSegLib.evaluation.evaluate_segmenter import EvaluationOptions, evaluate
from MedLLMSegLib.registry.catalogue import ModelEntry, find_model, read_metadata
from MedLLMSegLib.segmentation.expected_dice import read_lines
from MedLLMSegLib.training.segmenter.bundle.export_segmenter import Evidence, upgrade_bundle

from . import brain_figures

DATA = Path("../shared/data")  # where the data of the models that ship lie, from the repository
TABLE, LINES, CONVERTED = "test.csv", "calibration.json", "acdc"
OASIS_STRUCTURES = ("thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala")


@dataclass(frozen=True)
class Measure:
    """What is measured of a model.

    data: the folder of its test cases, within the folder of all data. lines: whether the lines of
    its expected Dice are fitted first, on heads of the val label maps, where it has none: they are
    a part of the measured model, and another fit would make another model. Others: see
    `EvaluationOptions`.
    """

    data: str = ""
    calibration: bool = False
    ablate: bool = False
    structures: tuple[str, ...] = ()
    precision: str = "auto"
    lines: bool = False


MEASURES = {
    "brain-mr": Measure("oasis_brains", ablate=True, structures=OASIS_STRUCTURES, lines=True),
    "hippocampus-t1": Measure("hippocampus", calibration=True, ablate=True, precision="fp32"),
    "cardiac-cine-mr": Measure("acdc", calibration=True, ablate=True, precision="fp32"),
    "cxr-pneumonia": Measure("cxr"),
}
OWN = Measure(calibration=True)  # of a user's model


def remeasure(
    model: PathLike,
    output: PathLike,
    data: PathLike | None = None,
    device: str = "auto",
    progress: Report | None = None,
) -> Path:
    """Measure a model and write what was found into its bundle; returns the bundle's folder.

    model: an id or a bundle's folder. output: a folder for tables and summaries. data: of a model
    that ships the folder with all data (`DATA` if None); of another model its labelled cases.
    progress: may raise `Cancelled`; the bundle is written at the end. Raises `UserError` for cases
    that the model has seen, and for a model without such figures.
    """
    entry, report = find_model(model, None), Progress.of(progress)
    measure, cases = _measure_of(entry, data)
    folder = make_folder(output)
    if any(cases.glob("*.h5")):  # ACDC as it is distributed
        cases = convert_acdc(cases, folder / CONVERTED)
    table = folder / TABLE
    if entry.kind == "classifier":
        summary = evaluate_classifier(str(entry.folder), cases, table, None, device, report)
        return update_classifier(entry.folder, summary)
    fits = measure.lines and not read_lines(read_metadata(entry.folder))
    bundle = _with_lines(entry, _root(data), folder) if fits else entry.folder
    options = EvaluationOptions(
        device=device,
        calibration=measure.calibration,
        precision=measure.precision,
        structures=measure.structures,
        ablate=measure.ablate,
    )
    evaluate(bundle, cases, table, None, options, report)
    results = table.with_suffix(".summary.json")
    fitted = folder / LINES if fits else None
    return upgrade_bundle(entry.folder, evidence=Evidence(results, calibration=fitted))


def _root(data: PathLike | None) -> Path:
    return Path(data).expanduser() if data is not None else DATA


def _measure_of(entry: ModelEntry, data: PathLike | None) -> tuple[Measure, Path]:
    """What is measured of a model, and the folder or table of its cases."""
    if entry.kind == "localizer":
        raise UserError(
            f'"{entry.id}" finds an organ; `python -m MedLLMSegLib.evaluation.evaluate_localizer`'
            " measures it."
        )
    measure = MEASURES.get(entry.id)
    if measure is not None:
        cases = _root(data) / measure.data
        if not cases.is_dir():
            raise UserError(
                f'The cases of "{entry.id}" are looked for in "{cases}", which is no folder; say'
                " with --data where all the data lie."
            )
        return measure, cases
    if data is None:
        raise UserError(f'Which cases to measure "{entry.id}" on is not known; add --data CASES.')
    has_ablation = bool(read_metadata(entry.folder).get("ablation"))
    return replace(OWN, ablate=has_ablation), Path(data).expanduser()


def _with_lines(entry: ModelEntry, data: Path, folder: Path) -> Path:
    """Fit the lines of a brain model's expected Dice on heads of the val label maps; returns a copy
    of its bundle that has them.

    They come before anything else is measured. The bundle itself keeps its figures until the new
    ones are there.
    """
    lines = folder / LINES
    code = brain_figures.main(
        [
            *("--data", str(data), "--output", str(folder / "val-heads")),
            *("--model", str(entry.folder), "--only", "val/*", "--calibration", str(lines)),
        ]
    )
    if code:
        raise UserError(f'The lines of the expected Dice of "{entry.id}" could not be fitted.')
    copy = folder / "bundle"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(entry.folder, copy)
    return upgrade_bundle(copy, evidence=Evidence(calibration=lines))


def figures_text(folder: Path) -> str:
    """For the screen: what the bundle now says of itself."""
    about: Json = json.loads((folder / "configs/metadata.json").read_text(encoding="utf-8"))
    return f"{about['id']}: {about['accuracy']}; the card is {folder / 'docs/README.md'}"
