"""The result of a segmenter on one labelled case: its metrics and its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.data import Case
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.metrics.calibration import (
    NEAR_MM,
    VOXEL_BINS,
    calibration_error,
    near_foreground,
    voxel_reliability,
)
from MedLLMSegLib.metrics.overlap import missed_structure_metrics, structure_metrics
from MedLLMSegLib.metrics.risk_coverage import risk_coverage_area

from .labelled_cases import LabelledCases, with_model_values
from .scores import Score


@dataclass(frozen=True, eq=False)
class CaseResult:
    """One measured case.

    structures: those that the model could find; None where it failed. reliability: the case's
    reliability table (see `metrics.calibration`), if calibration is measured. model: its id.
    precision: "fp32" or "bf16", in which its network ran.
    """

    score: Score
    structures: tuple[Structure, ...] | None = None
    reliability: Array | None = None
    model: str = ""
    precision: str = ""


def measure_segmentation(
    segmentation: Segmentation, truth: Array, case: Case, calibration: bool
) -> CaseResult:
    """The metrics of a segmentation. truth: the case's label map, with the model's values."""
    labels, by_structure, charged = segmentation.labels, {}, []
    for structure in segmentation.structures:
        by_structure[structure.key] = structure_metrics(
            labels.array, truth, structure.label, labels.ijk_to_ras
        )
        found, present = labels.array == structure.label, truth == structure.label
        if found.any() != present.any():
            charged.append(structure.key)
    score = Score(case.id, case.group, _columns(by_structure), charged=tuple(charged))
    table = None
    if calibration:
        table = _voxel_table(segmentation, truth)
        score.values |= _case_metrics(segmentation, truth, table)
    return CaseResult(
        score, segmentation.structures, table, segmentation.model, segmentation.precision
    )


def _columns(by_structure: dict[str, dict[str, float]]) -> dict[str, float]:
    """structure -> metric -> value as one column for each ("dice_anterior")."""
    return {
        f"{metric}_{key}": value
        for key, values in by_structure.items()
        for metric, value in values.items()
    }


def _voxel_table(segmentation: Segmentation, truth: Array) -> Array:
    """The reliability table (bins, 3) of a segmentation with probabilities."""
    if segmentation.probabilities is None:
        raise ValueError("calibration is measured on probabilities, and this result has none")
    probabilities = segmentation.probabilities.array  # (c, k, j, i) without background
    background = np.clip(1 - probabilities.sum(0), 0, 1)[None]
    classes = np.zeros_like(truth)
    for n, structure in enumerate(segmentation.structures, 1):
        classes[truth == structure.label] = n
    return voxel_reliability(
        np.concatenate([background, probabilities]),
        classes,
        VOXEL_BINS,
        segmentation.labels.spacing_mm,
    )


def _case_metrics(segmentation: Segmentation, truth: Array, table: Array) -> dict[str, float]:
    """All of `CASE_METRICS`. table: the case's reliability table."""
    if segmentation.uncertainty is None:
        raise ValueError("calibration needs an uncertainty map, and this result has none")
    labels = segmentation.labels
    near = near_foreground(truth, labels.array, labels.spacing_mm)
    errors = (labels.array != truth)[near]
    curve = risk_coverage_area(segmentation.uncertainty.array[near], errors)
    return {
        "ece": calibration_error(table),
        "risk_coverage": curve.area,
        "risk_coverage_random": curve.random,
    }


def calibration_summary(means: dict[str, dict], results: Sequence[CaseResult]) -> dict:
    """The calibration over all cases' voxels. means: the summary's means of each metric."""
    tables = [result.reliability for result in results if result.reliability is not None]
    return {
        "ece": calibration_error(np.sum(tables, 0)),
        "bins": VOXEL_BINS,
        "where": f"voxels within {NEAR_MM:g} mm of a structure of the truth or of the answer",
        "risk_coverage": means["risk_coverage"]["mean"],
        "risk_coverage_random": means["risk_coverage_random"]["mean"],
    }


def charge_failed_cases(
    results: Sequence[CaseResult], labelled: LabelledCases, others: Sequence[CaseResult] = ()
) -> None:
    """Fill in the scores of failed cases: they missed every structure of their truth.

    Where the truth is empty, they missed every structure. others: results of the same model, whose
    structures count as known too. Raises `UserError` if all cases failed, these included.
    """
    known = [each.structures for each in (*results, *others) if each.structures is not None]
    if not known:
        first = results[0].score
        raise UserError(
            f'None of the {len(results)} cases could be segmented; the first, "{first.case}":'
            f" {first.error}"
        )
    # A folder may mix crops (anterior, posterior) with heads (left and right): take the smallest
    # set of structures that fits.
    candidates = sorted(known, key=len)
    for result, case in zip(results, labelled.cases, strict=True):
        if result.structures is None:
            _charge(result.score, case, labelled, candidates)


def _charge(
    score: Score,
    case: Case,
    labelled: LabelledCases,
    candidates: Sequence[tuple[Structure, ...]],
) -> None:
    image = load_volume(case.image)  # that on whose grid the labels lie
    truth = labelled.truth(case, image)
    structures, truth = _fitting_structures(candidates, truth, case.id, labelled)
    voxels = {s.key: int((truth == s.label).sum()) for s in structures}
    missed = [key for key, count in voxels.items() if count] or list(voxels)
    by_structure = {}
    for key in missed:
        volume_ml = voxels[key] * image.grid.voxel_ml
        by_structure[key] = missed_structure_metrics(image.grid) | {
            "volume_difference_ml": -volume_ml
        }
    score.values, score.charged = _columns(by_structure), tuple(missed)


def _fitting_structures(
    candidates: Sequence[tuple[Structure, ...]], truth: Array, case_id: str, labelled: LabelledCases
) -> tuple[tuple[Structure, ...], Array]:
    """The first set of structures that a truth fits, and the truth with their values."""
    for structures in candidates:
        try:
            return structures, with_model_values(truth, case_id, labelled, structures)
        except UserError:
            continue
    return candidates[0], truth
