"""The table of diagnoses: a row for each case, kept over several runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel
from MedLLMSegLib.diagnosis.result import Diagnosis

from .cases import CaseImages, case_label

FIRST_COLUMNS = ("image", "status", "model", "answer", "confidence", "threshold")
DOMAIN_COLUMNS = ("domain", "domain_distance")
LAST_COLUMNS = (*DOMAIN_COLUMNS, "notes", "message")


@dataclass(frozen=True, eq=False)
class CaseResult:
    """The outcome of one case.

    images: its files, None for a missing channel. status: "done" or "failed". files: that were
    written.
    """

    images: CaseImages
    status: str
    diagnosis: Diagnosis | None = None
    files: tuple[Path, ...] = ()
    message: str = ""


def diagnoses_csv(
    results: Sequence[CaseResult],
    model: ClassifierModel,
    earlier_rows: Sequence[dict[str, str]] = (),
) -> str:
    """One row a case: image, status, model, answer, confidence, threshold, a probability for each
    class, domain ("inside", "outside" or nothing where it is not known), the distance in units of
    its threshold, notes, message.

    earlier_rows: of other images in an earlier table.
    """
    columns = [*FIRST_COLUMNS, *(f"p_{name}" for name in model.classes)]
    earlier_columns = [column for row in earlier_rows for column in row]
    columns = [c for c in dict.fromkeys([*columns, *earlier_columns]) if c not in LAST_COLUMNS]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, *LAST_COLUMNS], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(earlier_rows)
    writer.writerows(_row(result, model) for result in results)
    return text.getvalue()


def _row(result: CaseResult, model: ClassifierModel) -> dict[str, str]:
    row = {
        "image": case_label(result.images, model),
        "status": result.status,
        "model": model.entry.id,
        "message": result.message,
    }
    diagnosis = result.diagnosis
    if diagnosis is None:
        return row
    domain = diagnosis.domain
    threshold = "" if diagnosis.threshold is None else f"{diagnosis.threshold:.4f}"
    return {
        **row,
        "answer": diagnosis.answer,
        "confidence": f"{diagnosis.confidence:.4f}",
        "notes": " ".join(diagnosis.notes),
        "threshold": threshold,
        "domain": "" if domain is None else "outside" if domain.outside else "inside",
        "domain_distance": "" if domain is None else f"{domain.distance / domain.threshold:.3f}",
        **{f"p_{name}": f"{p:.4f}" for name, p in diagnosis.probabilities.items()},
    }


def check_table(path: Path) -> None:
    """Raise `UserError` where a file of this name is not one of our tables."""
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(
        ",".join(FIRST_COLUMNS)
    ):
        raise UserError(f'"{path}" is not one of our tables; choose another folder or rename it.')


def read_earlier_rows(
    path: Path, results: Sequence[CaseResult], model: ClassifierModel
) -> list[dict[str, str]]:
    """The rows of other images, and of these images by other models."""
    if not path.exists():
        return []
    images = {case_label(result.images, model) for result in results}
    replaced = {
        (case_label(result.images, model), result.diagnosis.model)
        for result in results
        if result.diagnosis
    }

    def is_kept(row: dict[str, str]) -> bool:
        if row["image"] not in images:
            return True
        return row["status"] == "done" and (row["image"], row["model"]) not in replaced

    with open(path, encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if is_kept(row)]
