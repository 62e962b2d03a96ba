"""Measure a classifier on labelled images: a table with one row an image, a summary, pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.core.types import Array, Json, PathLike
from MedLLMSegLib.data import listed_ids, patients_counted, split_cases
from MedLLMSegLib.data.case_digest import image_marks
from MedLLMSegLib.data.image_table import ClassSet, ImageCase, read_classes
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel, load_classifier
from MedLLMSegLib.metrics.calibration import calibrated_probabilities, image_calibration_error
from MedLLMSegLib.metrics.classification import confusion_table, decide
from MedLLMSegLib.metrics.classification_intervals import Estimate, classification_figures
from MedLLMSegLib.metrics.subgroups import age_band, measure_shortcut, subgroup_table
from MedLLMSegLib.registry.own_figures import MARKS, OWNER, marks_as_json
from MedLLMSegLib.reporting.classification_plots import draw_confusion, draw_roc
from MedLLMSegLib.training.classifier.examples import Examples, logits_of
from MedLLMSegLib.training.classifier.prepared_images import image_examples, record_fields

SHORTCUT = "view"  # the column that may give the class away
SUBGROUP_COLUMNS = ("view", "age", "sex")


def evaluate_classifier(
    model: str,
    data: PathLike,
    output: PathLike,
    cases_file: PathLike | None = None,
    device: str = "auto",
    progress: Report | None = None,
) -> Json:
    """Measure a classifier of images; returns the summary.

    Writes OUTPUT (CSV), .summary.json, .roc.png and .confusion.png. Every image is judged by the
    threshold and temperature in the bundle, which were chosen on the validation split.

    data: as for `read_classes`. cases_file: one id a line; None takes the test split, or all images
    where none is stated. progress: may raise `Cancelled`.
    """
    output, report = Path(output), Progress.of(progress)
    check_writable(output.parent)
    loaded = load_classifier(model, device)
    class_set = read_classes(data, loaded.classes, tuple(loaded.input.channels))
    cases = chosen_cases(class_set, cases_file)
    examples = examples_for(loaded, cases, report.part(0.0, 0.8))
    report("diagnosing", 0.8)
    logits = logits_of(loaded.network, examples, device=loaded.device)
    probabilities = calibrated_probabilities(logits, loaded.temperature)
    write_text(output, _table(cases, loaded, probabilities))
    summary = _summary(loaded, class_set, cases, probabilities)
    write_text(output.with_suffix(".summary.json"), json.dumps(summary, indent=1) + "\n")
    report("drawing", 0.95)
    truth = examples.target.numpy()
    roc, confusion = output.with_suffix(".roc.png"), output.with_suffix(".confusion.png")
    draw_roc(truth, probabilities, examples.groups, loaded.classes, roc, loaded.threshold)
    draw_confusion(truth, decide(probabilities, loaded.threshold), loaded.classes, confusion)
    report("done", 1.0)
    return summary


def chosen_cases(class_set: ClassSet, cases_file: PathLike | None = None) -> tuple[ImageCase, ...]:
    """The listed images; without a list the test split, or all where the data state none."""
    if cases_file is None:
        stated = class_set.splits and class_set.splits.get("test")
        return split_cases(class_set)["test"] if stated else class_set.cases
    wanted = listed_ids(cases_file)
    if not wanted:
        raise UserError(f'"{cases_file}" names no image.')
    by_id = {case.id: case for case in class_set.cases}
    unknown = [case_id for case_id in wanted if case_id not in by_id]
    if unknown:
        raise UserError(
            f'"{cases_file}" names "{unknown[0]}", and the data have no such image; give one id'
            " a line."
        )
    return tuple(by_id[case_id] for case_id in wanted)


def examples_for(
    model: ClassifierModel, cases: Sequence[ImageCase], progress: Report | None = None
) -> Examples:
    """Images (and records) prepared as the model was trained."""
    if model.input.kind != "radiograph":
        raise UserError(
            f'"{model.entry.id}" looks at sequences, which a table of single images does not hold;'
            " its own command (docs/diagnosis.md) measures it."
        )
    if model.config.encoder.channels != 1 + len(model.input.channels):
        raise UserError(
            f'"{model.entry.id}" looks at {model.config.encoder.channels} images at once and does'
            " not say which columns of a table name them; train it with `medllmseg train --task"
            " classify --channels`."
        )
    images = image_examples(cases, model.preparation, progress, model.input)
    if model.config.record is None:
        return images
    fields = {**images.fields, **record_fields(cases, model.config.record)}
    return Examples(fields, images.target, images.ids, images.groups)


def _table(cases: Sequence[ImageCase], model: ClassifierModel, probabilities: Array) -> str:
    """case, patient, truth, answer, the probability of each class, and the subgroups' columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    subgroups = subgroup_columns(cases)
    headings = [f"probability_{name}" for name in model.classes]
    writer.writerow(["case", "group", "class", "answer", *headings, *subgroups])
    decisions = decide(probabilities, model.threshold)
    for n, case in enumerate(cases):
        row = [case.id, case.group, model.classes[case.target], model.classes[decisions[n]]]
        row += [f"{probability:.6f}" for probability in probabilities[n]]
        row += [values[n] for values in subgroups.values()]
        writer.writerow(row)
    return text.getvalue()


def _summary(
    model: ClassifierModel, class_set: ClassSet, cases: Sequence[ImageCase], probabilities: Array
) -> Json:
    truth, groups = np.array([case.target for case in cases]), [case.group for case in cases]
    answer = (probabilities, model.threshold)
    decisions = decide(probabilities, model.threshold)
    figures = classification_figures(truth, [answer], groups)
    columns = subgroup_columns(cases)
    summary = {
        "model": model.entry.id,
        "weights_sha256": model.entry.sha256,
        OWNER: model.sha256,
        MARKS: marks_as_json({case.id: image_marks(case) for case in cases}),
        "data": Path(class_set.source).parent.name,
        "task": "classification",
        "cases": len(cases),
        "patients": len(set(groups)),
        "assumption": class_set.assumption,
        "classes": list(model.classes),
        "threshold": model.threshold,
        "temperature": model.temperature,
        "figures": {name: estimate.to_dict() for name, estimate in figures.items()},
        "ece": round(image_calibration_error(truth, probabilities), 5),
        "confusion": confusion_table(truth, decisions, len(model.classes)).tolist(),
        "subgroups": subgroup_table(truth, [answer], groups, columns) if columns else [],
        "shortcut": _shortcut(class_set, cases),
    }
    if model.input.names:
        summary["missing"] = {
            name: sum((case.image, *case.channels)[n] is None for case in cases)
            for n, name in enumerate(model.input.names)
        }
    return summary


def _shortcut(class_set: ClassSet, cases: Sequence[ImageCase]) -> Json | None:
    """How well the view alone predicts the class of these images, learnt on the training split.

    None without a training split or a column of views.
    """
    train_ids = set((class_set.splits or {}).get("train", ()))
    train = [case for case in class_set.cases if case.id in train_ids]
    if not train or SHORTCUT not in cases[0].columns:
        return None
    shortcut = measure_shortcut(
        [case.columns[SHORTCUT] for case in train],
        [case.target for case in train],
        [case.columns[SHORTCUT] for case in cases],
        [case.target for case in cases],
    )
    return {
        "column": SHORTCUT,
        "accuracy": round(shortcut.accuracy, 5),
        "auc": None if np.isnan(shortcut.auc) else round(shortcut.auc, 5),
        "n": shortcut.n,
    }


def summary_text(summary: Json) -> str:
    """The summary for the screen."""
    assumption = summary.get("assumption") or ""
    counted = patients_counted(assumption, summary["cases"], summary["patients"])
    whose = f" of {summary['patients']} patients" if counted else ""
    lines = [
        f"{summary['model']}: {summary['cases']} images{whose}; 95 % intervals over"
        f" {'patients' if counted else 'images'}",
        *([assumption] if assumption else []),
    ]
    for name, figure in summary["figures"].items():
        lines.append(f"  {name:<12} {_estimate_text(figure)}")
    lines.append(f"  {'ECE':<12} {summary['ece']:.3f}")
    for name, count in summary.get("missing", {}).items():
        if count:
            lines.append(f"  {name} is missing in {count} of them")
    for row in summary["subgroups"]:
        lines.append(
            f"  {row['column']} {row['value']:<12} n {row['n']:<4}"
            f" AUC {_estimate_text(row['auc'])},"
            f" sensitivity {_estimate_text(row['sensitivity'])},"
            f" specificity {_estimate_text(row['specificity'])}"
        )
    shortcut = summary["shortcut"]
    if shortcut:
        lines.append(
            f"guessing from the {shortcut['column']} alone is right in"
            f" {100 * shortcut['accuracy']:.1f} %"
            f" of these images; the model in {100 * summary['figures']['accuracy']['value']:.1f} %"
        )
    return "\n".join([*lines, "Research use only; not a medical device."])


def _estimate_text(estimate: Json) -> str:
    return str(Estimate.from_dict(estimate))


def subgroup_columns(cases: Sequence[ImageCase]) -> dict[str, list[str]]:
    """Those of view, age and sex that the table has, ages in bands of twenty years."""
    columns = {}
    for name in SUBGROUP_COLUMNS:
        if name in cases[0].columns:
            values = [case.columns[name] for case in cases]
            columns[name] = [age_band(age) for age in values] if name == "age" else values
    return columns
