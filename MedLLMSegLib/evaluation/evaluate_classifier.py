"""The figures of a classifier on labelled images: a table with one row an image, a summary, and
pictures.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.data import listed_ids, split_cases
from MedLLMSegLib.data.image_table import ClassSet, ImageCase, read_classes
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel, load_classifier
from MedLLMSegLib.metrics.calibration import calibrated_probabilities, image_calibration_error
from MedLLMSegLib.metrics.classification import decide
from MedLLMSegLib.metrics.classification_intervals import Estimate, classification_figures
from MedLLMSegLib.metrics.subgroups import age_band, measure_shortcut, subgroup_table
from MedLLMSegLib.reporting.classification_plots import draw_confusion, draw_roc
from MedLLMSegLib.training.classifier.examples import Examples, logits_of
from MedLLMSegLib.training.classifier.prepared_images import image_examples, record_fields

SHORTCUT = "view"  # the column that may give the class away


def evaluate_classifier(
    model, data, output, cases_file=None, device: str = "auto", progress: Report | None = None
) -> dict:
    """Measure a classifier of images; writes OUTPUT (CSV), .summary.json, .roc.png and
    .confusion.png; returns the summary.

    data: as for `table.read_classes`. cases_file: one id a line; None: the test split, or all
    images where none is stated. Every image is judged by the threshold and temperature in the
    bundle, chosen on val. progress: may raise `Cancelled`.
    """
    output, report = Path(output), progress or (lambda text, fraction: None)
    check_writable(output.parent)
    loaded = load_classifier(model, device)
    class_set = read_classes(data, loaded.classes, tuple(loaded.input.channels))
    cases = chosen_cases(class_set, cases_file)
    examples = examples_for(loaded, cases, lambda text, fraction: report(text, 0.8 * fraction))
    report("diagnosing", 0.8)
    probabilities = calibrated_probabilities(
        logits_of(loaded.network, examples, device=loaded.device), loaded.temperature
    )
    write_text(output, _table(cases, loaded, probabilities))
    summary = _summary(loaded, class_set, cases, probabilities)
    write_text(output.with_suffix(".summary.json"), json.dumps(summary, indent=1) + "\n")
    truth, groups = examples.target.numpy(), examples.groups
    report("drawing", 0.95)
    draw_roc(
        truth,
        probabilities,
        groups,
        loaded.classes,
        output.with_suffix(".roc.png"),
        loaded.threshold,
    )
    draw_confusion(
        truth,
        decide(probabilities, loaded.threshold),
        loaded.classes,
        output.with_suffix(".confusion.png"),
    )
    report("done", 1.0)
    return summary


def chosen_cases(class_set: ClassSet, cases_file=None) -> tuple[ImageCase, ...]:
    """The listed images; without a list the test split, or all where the data state none."""
    if cases_file is None:
        stated = class_set.splits and class_set.splits.get("test")
        return split_cases(class_set)["test"] if stated else class_set.cases
    wanted = listed_ids(cases_file)
    by_id = {case.id: case for case in class_set.cases}
    if not wanted or (unknown := [name for name in wanted if name not in by_id]):
        raise UserError(
            f'"{cases_file}" names no image.'
            if not wanted
            else (
                f'"{cases_file}" names "{unknown[0]}", and the data have no such image; give one id'
                " a line."
            )
        )
    return tuple(by_id[name] for name in wanted)


def examples_for(model: ClassifierModel, cases, progress: Report | None = None) -> Examples:
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
    found = image_examples(cases, model.preparation, progress, model.input)
    if model.config.record is None:
        return found
    return Examples(
        {**found.fields, **record_fields(cases, model.config.record)},
        found.target,
        found.ids,
        found.groups,
    )


def _table(cases, model: ClassifierModel, probabilities: np.ndarray) -> str:
    """case, patient, truth, answer, the probability of each class, and the subgroups' columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    extra = subgroup_columns(cases)
    writer.writerow(
        ["case", "group", "class", "answer", *(f"probability_{c}" for c in model.classes), *extra]
    )
    answer = decide(probabilities, model.threshold)
    for n, case in enumerate(cases):
        writer.writerow(
            [
                case.id,
                case.group,
                model.classes[case.target],
                model.classes[answer[n]],
                *(f"{p:.6f}" for p in probabilities[n]),
                *(values[n] for values in extra.values()),
            ]
        )
    return text.getvalue()


def _summary(model: ClassifierModel, class_set: ClassSet, cases, probabilities: np.ndarray) -> dict:
    truth, groups = np.array([c.target for c in cases]), [c.group for c in cases]
    answer = (probabilities, model.threshold)
    table = confusion_matrix(truth, decide(*answer), labels=range(len(model.classes))).tolist()
    columns = subgroup_columns(cases)
    return {
        "model": model.entry.id,
        "weights_sha256": model.entry.sha256,
        "data": Path(class_set.source).parent.name,
        "task": "classification",
        "cases": len(cases),
        "patients": len(set(groups)),
        "classes": list(model.classes),
        "threshold": model.threshold,
        "temperature": model.temperature,
        "figures": {
            k: v.to_dict() for k, v in classification_figures(truth, [answer], groups).items()
        },
        "ece": round(image_calibration_error(truth, probabilities), 5),
        "confusion": table,
        "subgroups": subgroup_table(truth, [answer], groups, columns) if columns else [],
        "shortcut": _shortcut(class_set, cases),
        **(
            {
                "missing": {
                    name: sum((c.image, *c.channels)[n] is None for c in cases)
                    for n, name in enumerate(model.input.names)
                }
            }
            if model.input.names
            else {}
        ),
    }


def _shortcut(class_set: ClassSet, cases) -> dict | None:
    """What guessing from the view alone gets on these images, the rule taken from the training
    split; None without either.
    """
    trained = [
        c
        for c in class_set.cases
        if class_set.splits and c.id in set(class_set.splits.get("train", ()))
    ]
    if not trained or SHORTCUT not in cases[0].columns:
        return None
    found = measure_shortcut(
        [c.columns[SHORTCUT] for c in trained],
        [c.target for c in trained],
        [c.columns[SHORTCUT] for c in cases],
        [c.target for c in cases],
    )
    return {
        "column": SHORTCUT,
        "accuracy": round(found.accuracy, 5),
        "auc": None if np.isnan(found.auc) else round(found.auc, 5),
        "n": found.n,
    }


def summary_text(summary: dict) -> str:
    """The summary for the screen."""
    show = lambda e: str(Estimate.from_dict(e))
    lines = [
        f"{summary['model']}: {summary['cases']} images of {summary['patients']} patients; 95 %"
        " intervals over patients"
    ]
    lines += [f"  {name:<12} {show(each)}" for name, each in summary["figures"].items()]
    lines.append(f"  {'ECE':<12} {summary['ece']:.3f}")
    lines += [
        f"  {name} is missing in {count} of them"
        for name, count in summary.get("missing", {}).items()
        if count
    ]
    for row in summary["subgroups"]:
        lines.append(
            f"  {row['column']} {row['value']:<12} n {row['n']:<4} AUC {show(row['auc'])}, "
            f"sensitivity {show(row['sensitivity'])}, specificity {show(row['specificity'])}"
        )
    if found := summary["shortcut"]:
        lines.append(
            f"guessing from the {found['column']} alone is right in {100 * found['accuracy']:.1f} %"
            f" of these images; the model in {100 * summary['figures']['accuracy']['value']:.1f} %"
        )
    return "\n".join([*lines, "Research use only; not a medical device."])


def subgroup_columns(cases: Sequence[ImageCase]) -> dict[str, list[str]]:
    """Those of view, age and sex that the table has, ages in bands of twenty years."""
    return {
        name: [age_band(c.columns[name]) if name == "age" else c.columns[name] for c in cases]
        for name in ("view", "age", "sex")
        if name in cases[0].columns
    }
