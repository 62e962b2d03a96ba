"""A classifier's features on labelled images: a t-SNE map, and what can be predicted from them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.data.image_table import ImageCase, read_classes
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.reporting.classification_plots import draw_map
from MedLLMSegLib.training.classifier.examples import features_of

from .evaluate_classifier import chosen_cases, examples_for
from .tsne_map import ColumnPrediction, map_features, predict_from_features


@dataclass(frozen=True)
class MapOptions:
    """Which images and columns a map shows.

    columns: of the table, besides the class. cases_file: as for `chosen_cases`. every: take all
    images instead.
    """

    columns: tuple[str, ...] = ("view",)
    cases_file: PathLike | None = None
    every: bool = False
    seed: int = 0


def map_classifier(
    model: str,
    data: PathLike,
    output: PathLike,
    options: MapOptions = MapOptions(),
    device: str = "auto",
    progress: Report | None = None,
) -> dict[str, ColumnPrediction]:
    """Write the map as OUTPUT (PNG), its points as .csv and the predictions as .json.

    Returns how well the class and each column can be predicted from the features, where that can be
    measured. Raises `UserError` for a column that the table lacks.
    """
    output, report = Path(output), Progress.of(progress)
    check_writable(output.parent)
    loaded = load_classifier(model, device)
    class_set = read_classes(data, loaded.classes, tuple(loaded.input.channels))
    cases = class_set.cases if options.every else chosen_cases(class_set, options.cases_file)
    _check_columns(options.columns, cases[0])
    examples = examples_for(loaded, cases, report.part(0.0, 0.6))
    report("features", 0.6)
    features = features_of(loaded.network, examples, loaded.device)
    report("t-SNE", 0.8)
    points = map_features(features, options.seed)
    columns = {"class": [loaded.classes[case.target] for case in cases]}
    columns |= {name: [case.columns[name] for case in cases] for name in options.columns}
    predictions = {}
    for name, values in columns.items():
        prediction = predict_from_features(features, values, examples.groups, options.seed)
        if prediction is not None:
            predictions[name] = prediction
    headings = {_heading(name, predictions.get(name)): values for name, values in columns.items()}
    title = f"{loaded.entry.id}: t-SNE of {len(cases)} images' features"
    draw_map(points, headings, output, title)
    write_text(output.with_suffix(".csv"), _points_table(cases, points, columns))
    as_json = {name: prediction.to_dict() for name, prediction in predictions.items()}
    write_text(output.with_suffix(".json"), json.dumps(as_json, indent=1) + "\n")
    return predictions


def _check_columns(columns: Sequence[str], case: ImageCase) -> None:
    for column in columns:
        if column not in case.columns:
            raise UserError(
                f'The table has no column "{column}"; it has {", ".join(case.columns)}.'
            )


def predictions_text(predictions: Mapping[str, ColumnPrediction]) -> str:
    """A line for each column."""
    lines = [
        f"{name}: told from the features with AUC {prediction.auc} and accuracy"
        f" {prediction.accuracy}; chance is 0.5 and {prediction.chance:.3f}; {prediction.n} images"
        for name, prediction in predictions.items()
    ]
    if not lines:
        return "no column has two values in five patients each, so nothing can be told"
    return "\n".join(lines)


def _heading(name: str, prediction: ColumnPrediction | None) -> str:
    if prediction is None:
        return f"by {name}"
    return f"by {name}: told with AUC {prediction.auc.value:.2f} (chance 0.5)"


def _points_table(
    cases: Sequence[ImageCase], points: Array, columns: Mapping[str, Sequence[str]]
) -> str:
    """CSV: case, its point, and its value in each column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "x", "y", *columns])
    for n, (case, (x, y)) in enumerate(zip(cases, points, strict=True)):
        values = [column[n] for column in columns.values()]
        writer.writerow([case.id, f"{x:.4f}", f"{y:.4f}", *values])
    return text.getvalue()
