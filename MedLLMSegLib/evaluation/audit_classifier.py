"""`medllmseg audit`: a classifier on labelled images, in groups of age, sex and view."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.data.case_digest import image_marks
from MedLLMSegLib.data.image_table import ImageCase, read_classes
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel, load_classifier
from MedLLMSegLib.metrics.calibration import calibrated_probabilities
from MedLLMSegLib.metrics.classification import decide
from MedLLMSegLib.metrics.subgroups import NOT_STATED, age_band
from MedLLMSegLib.registry.catalogue import measured_model, read_metadata
from MedLLMSegLib.registry.own_figures import MARKS, OWNER, marks_as_json, training_words
from MedLLMSegLib.reporting.audit_plot import draw_audit
from MedLLMSegLib.training.classifier.examples import logits_of

from .audit import Audit, audit, audit_csv, audit_json
from .evaluate_classifier import examples_for

AGE = "age"
USUAL_ATTRIBUTES = (AGE, "sex", "view")


@dataclass(frozen=True)
class AuditOptions:
    """splits: of the data, such as ("test",). attributes: columns of the table; ages are taken in
    bands of twenty years.
    """

    splits: tuple[str, ...] = ("test",)
    attributes: tuple[str, ...] = USUAL_ATTRIBUTES


def audit_classifier(
    model: str | Path,
    data: PathLike,
    output: PathLike,
    options: AuditOptions = AuditOptions(),
    device: str = "auto",
    progress: Report | None = None,
) -> tuple[Audit, Json]:
    """Write OUTPUT (CSV), .json and .png, and return (the audit, what the .json holds).

    data: as for `read_classes`. Every image is judged at the one threshold in the bundle, which was
    chosen on the validation split. Raises `UserError` for a model of other than two classes, and
    for a column or a split that the data lack.
    """
    output, report = Path(output), Progress.of(progress)
    check_writable(output.parent)
    loaded = load_classifier(model, device)
    if len(loaded.classes) != 2 or loaded.threshold is None:
        raise UserError(
            f'"{loaded.entry.id}" has no threshold between two classes, which an audit needs;'
            " choose a model of two classes."
        )
    cases, splits = _cases(loaded, data, options)
    examples = examples_for(loaded, cases, report.part(0.0, 0.7))
    report("diagnosing", 0.7)
    logits = logits_of(loaded.network, examples, device=loaded.device)
    decision = decide(calibrated_probabilities(logits, loaded.temperature), loaded.threshold)
    report("comparing groups", 0.9)
    columns = {name: _values(cases, name) for name in options.attributes}
    found = audit(examples.target.numpy() > 0, decision > 0, examples.groups, columns)
    about: Json = {
        "model": loaded.entry.id,
        OWNER: loaded.sha256,
        "data": Path(data).name,
        "splits": list(splits),  # empty where the data state none, and all images are judged
        "cases": len(cases),
        MARKS: marks_as_json({case.id: image_marks(case) for case in cases}),
        "patients": len(set(examples.groups)),
        "threshold": loaded.threshold,
        **audit_json(found),
    }
    measured = measured_model(read_metadata(loaded.entry.folder))
    about["training"] = training_words(about, measured)
    write_text(output, audit_csv(found))
    write_text(output.with_suffix(".json"), json.dumps(about, indent=1) + "\n")
    draw_audit(found.rates, output.with_suffix(".png"), _title(about))
    report("done", 1.0)
    return found, about


def _cases(
    model: ClassifierModel, data: PathLike, options: AuditOptions
) -> tuple[tuple[ImageCase, ...], tuple[str, ...]]:
    """(the images, the splits that they are of: none where the data state none)."""
    class_set = read_classes(data, model.classes, tuple(model.input.channels))
    splits: tuple[str, ...]
    if not class_set.splits:
        cases, splits = class_set.cases, ()
    else:
        splits = options.splits
        unknown = [name for name in options.splits if name not in class_set.splits]
        if unknown:
            raise UserError(
                f'The data state no split "{unknown[0]}"; they have {", ".join(class_set.splits)}.'
            )
        wanted = {case_id for name in options.splits for case_id in class_set.splits[name]}
        cases = tuple(case for case in class_set.cases if case.id in wanted)
    missing = [name for name in options.attributes if name not in cases[0].columns]
    if missing:
        raise UserError(
            f'The table has no column "{missing[0]}"; it has {", ".join(cases[0].columns)}.'
        )
    return cases, splits


def _values(cases: Sequence[ImageCase], column: str) -> list[str]:
    texts = [case.columns[column] for case in cases]
    return [age_band(text) if column == AGE else text or NOT_STATED for text in texts]


def _title(about: Json) -> str:
    return (
        f"{about['model']} on {about['cases']} images of {about['patients']} patients"
        f" ({', '.join(about['splits']) or 'all images'}), threshold {about['threshold']:.2f}"
    )


def audit_text(found: Audit, about: Json) -> str:
    """For the screen."""
    lines = [_title(about)]
    for row in found.rates:
        number = "-" if np.isnan(row.difference.value) else f"{row.difference}"
        lines.append(
            f"  {row.attribute} {row.group:<12} {row.rate:<15} n {row.n:<4} {row.value}; minus all"
            f" others {number}{'  *' if row.differs else ''}"
        )
    lines.append(
        f"{found.comparisons} differences were looked at, so each has an interval of"
        f" {100 * found.level:.2f} % (Bonferroni); {about['differing']} of them leave out 0 (*)."
    )
    lines.append(f"These are {about['cases']} images {about['training']}.")
    return "\n".join([*lines, "Research use only; not a medical device."])
