"""A classifier's features on labelled images: the t-SNE map as a picture and a table, and what
can be told from them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.data.image_table import ImageCase, read_classes
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.reporting.classification_plots import draw_map
from MedLLMSegLib.training.classifier.examples import features_of

from .evaluate_classifier import chosen_cases, examples_for
from .tsne_map import Told, map_features, tell_from_features


@dataclass(frozen=True)
class MapOptions:
    """columns: of the table, besides the class. cases_file: as for `evaluate.chosen_cases`;
    every: all images instead.
    """

    columns: tuple[str, ...] = ("view",)
    cases_file: Path | None = None
    every: bool = False
    seed: int = 0


def map_classifier(
    model,
    data,
    output,
    options: MapOptions = MapOptions(),
    device: str = "auto",
    progress: Report | None = None,
) -> dict[str, Told]:
    """Write OUTPUT (PNG), .csv and .json; returns what the class and each column can be told with,
    where it can be asked.

    Raises `UserError` for a column that the table lacks.
    """
    output, report = Path(output), progress or (lambda text, fraction: None)
    check_writable(output.parent)
    loaded = load_classifier(model, device)
    class_set = read_classes(data, loaded.classes, tuple(loaded.input.channels))
    cases = class_set.cases if options.every else chosen_cases(class_set, options.cases_file)
    for column in options.columns:
        if column not in cases[0].columns:
            raise UserError(
                f'The table has no column "{column}"; it has {", ".join(cases[0].columns)}.'
            )
    examples = examples_for(loaded, cases, lambda text, fraction: report(text, 0.6 * fraction))
    report("features", 0.6)
    features = features_of(loaded.network, examples, loaded.device)
    report("t-SNE", 0.8)
    points = map_features(features, options.seed)
    values = {"class": [loaded.classes[c.target] for c in cases]}
    values |= {name: [c.columns[name] for c in cases] for name in options.columns}
    told = {
        name: tell_from_features(features, each, examples.groups, options.seed)
        for name, each in values.items()
    }
    told = {name: found for name, found in told.items() if found}
    draw_map(
        points,
        {_heading(name, told.get(name)): each for name, each in values.items()},
        output,
        f"{loaded.entry.id}: t-SNE of {len(cases)} images' features",
    )
    write_text(output.with_suffix(".csv"), _table(cases, points, values))
    write_text(
        output.with_suffix(".json"),
        json.dumps({name: each.to_dict() for name, each in told.items()}, indent=1) + "\n",
    )
    return told


def told_text(told: dict[str, Told]) -> str:
    """A line for each column."""
    lines = [
        f"{name}: told from the features with AUC {t.auc} and accuracy {t.accuracy}; chance is 0.5"
        f" and {t.chance:.3f}; {t.n} images"
        for name, t in told.items()
    ]
    return (
        "\n".join(lines) or "no column has two values in five patients each, so nothing can be told"
    )


def _heading(name: str, told: Told | None) -> str:
    return f"by {name}" + (f": told with AUC {told.auc.value:.2f} (chance 0.5)" if told else "")


def _table(cases: Sequence[ImageCase], points: np.ndarray, values: dict[str, list[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "x", "y", *values])
    for n, case in enumerate(cases):
        writer.writerow(
            [
                case.id,
                f"{points[n, 0]:.4f}",
                f"{points[n, 1]:.4f}",
                *(each[n] for each in values.values()),
            ]
        )
    return text.getvalue()
