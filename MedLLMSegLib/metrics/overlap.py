"""How well two label maps agree: the metrics of one structure.

Rule for absent structures (`RULE`): where neither label map has the structure, every metric is
missing (NaN) and left out of every mean, so that correctly finding nothing earns no credit. Where
only one of them has it, the overlap metrics and NSD are 0, HD95 and ASSD are the diagonal of the
image (no distance within the image is larger), and accuracy and volume difference are as counted.
A missed structure therefore never scores better than a badly placed one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.types import Array

from .surface_distance import diagonal_mm, surface_distances

RULE = (
    "a structure that neither label map has is left out of that case (blank); one that only one of"
    " them has counts as Dice, Jaccard, precision, sensitivity and NSD 0, and as the image's"
    " diagonal for HD95 and ASSD"
)


@dataclass(frozen=True)
class Metric:
    """What a metric is called and means.

    title: the heading in tables. best: the value of a perfect result; where it is 0, smaller is
    better. meaning: the definition.
    """

    title: str
    best: float
    meaning: str


METRICS = {
    "dice": Metric("Dice", 1.0, "2 TP / (2 TP + FP + FN)"),
    "jaccard": Metric("Jaccard", 1.0, "TP / (TP + FP + FN)"),
    "precision": Metric("Precision", 1.0, "TP / (TP + FP)"),
    "sensitivity": Metric("Sensitivity", 1.0, "TP / (TP + FN)"),
    "accuracy": Metric("Accuracy", 1.0, "(TP + TN) / all voxels of the image"),
    "hd95_mm": Metric(
        "HD95 (mm)",
        0.0,
        "the larger 95th percentile of the distances from either surface to the other",
    ),
    "assd_mm": Metric("ASSD (mm)", 0.0, "mean of the distances from both surfaces to the other"),
    "nsd_1mm": Metric(
        "NSD at 1 mm", 1.0, "share of both surfaces that lies within 1 mm of the other"
    ),
    "volume_difference_ml": Metric(
        "Volume difference (mL, result - truth)",
        0.0,
        "volume of the result minus that of the truth",
    ),
}
CASE_METRICS = {  # one value a case, measured on demand
    "ece": Metric(
        "Calibration error", 0.0, "expected calibration error of the likeliest class, 15 bins"
    ),
    "risk_coverage": Metric(
        "Risk-coverage area", 0.0, "error rate among the surest voxels, averaged over all shares"
    ),
    "risk_coverage_random": Metric("  the same of a random map", 0.0, "the error rate"),
}


def metric_of(column: str) -> Metric | None:
    """The metric that a table's column holds; None for a column that is not ours.

    column: a metric's name ("dice"), or that of a metric and a structure ("dice_anterior").
    """
    names = [
        name
        for name in METRICS | CASE_METRICS
        if column == name or (name in METRICS and column.startswith(f"{name}_"))
    ]
    return (METRICS | CASE_METRICS)[max(names, key=len)] if names else None


def dice(result: Array, truth: Array, label: int) -> float:
    """Dice coefficient of one label, 0 to 1; NaN where neither label map has it.

    result, truth: integer label maps of the same shape.
    """
    _check_shapes(result, truth)
    in_result, in_truth = result == label, truth == label
    total = int(in_result.sum()) + int(in_truth.sum())
    return 2.0 * int((in_result & in_truth).sum()) / total if total else float("nan")


def structure_metrics(
    result: Array, truth: Array, label: int, ijk_to_ras: Array
) -> dict[str, float]:
    """All of `METRICS` for one label; absent structures follow the module's rule.

    result, truth: integer label maps [k, j, i] on the grid ``ijk_to_ras`` (4 x 4, mm).
    """
    _check_shapes(result, truth)
    result_mask, truth_mask = result == label, truth == label
    true_positives = int((result_mask & truth_mask).sum())
    in_result, in_truth = int(result_mask.sum()), int(truth_mask.sum())
    in_either = in_result + in_truth - true_positives
    if not in_either:
        return dict.fromkeys(METRICS, float("nan"))
    grid = Grid(truth.shape, np.asarray(ijk_to_ras, float))
    values = missed_structure_metrics(grid) | {
        "dice": 2 * true_positives / (in_result + in_truth),
        "jaccard": true_positives / in_either,
        "precision": true_positives / in_result if in_result else 0.0,
        "sensitivity": true_positives / in_truth if in_truth else 0.0,
        "accuracy": 1.0 - (in_either - true_positives) / truth.size,
        "volume_difference_ml": (in_result - in_truth) * grid.voxel_ml,
    }
    if in_result and in_truth:
        distances = surface_distances(result_mask, truth_mask, grid.ijk_to_ras)
        values["hd95_mm"] = distances.percentile_mm(95.0)
        values["assd_mm"] = distances.mean_mm()
        values["nsd_1mm"] = distances.within(1.0)
    return values


def missed_structure_metrics(grid: Grid) -> dict[str, float]:
    """All of `METRICS` for a structure that was not found, on the truth's grid.

    The volume difference is left at 0, as it depends on the truth's volume.
    """
    values = dict.fromkeys(METRICS, 0.0)
    values["hd95_mm"] = values["assd_mm"] = diagonal_mm(grid)
    return values


def _check_shapes(result: Array, truth: Array) -> None:
    if result.shape != truth.shape:
        raise ValueError(
            f"label maps of shapes {result.shape} and {truth.shape} cannot be compared"
        )
