"""How well two label maps agree, how honest probabilities are, and statistics over cases and groups
of cases.

Rule for structures that are not there (`RULE`): where neither label map has the structure, every
metric is missing (NaN) and left out of every mean, so that nothing is won by leaving out what is
not there. Where only one of them has it, the overlap metrics and NSD are 0, HD95 and ASSD are the
diagonal of the image, which no distance in it exceeds, and accuracy and volume difference are as
counted: a missed structure never looks better than a badly placed one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import ndtr, stdtrit

from MedLLMSegLib.core.geometry import Grid

from .surface_distance import diagonal_mm, surface_distances

RULE = (
    "a structure that neither label map has is left out of that case (blank); one that only one of"
    " them has counts as Dice, Jaccard, precision, sensitivity and NSD 0, and as the image's"
    " diagonal for HD95 and ASSD"
)
# calibration is measured this far around the structures: beyond it, all voxels are right and sure
NEAR_MM = 5.0


@dataclass(frozen=True)
class Metric:
    """title: for tables. best: the value of a perfect result; smaller is better where it is 0.
    meaning: its definition.
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
    """What a column ("dice_anterior") or a metric's own name ("dice") measures; None for one of
    somebody else's.
    """
    known = METRICS | CASE_METRICS
    name = max(
        (n for n in known if column == n or (n in METRICS and column.startswith(f"{n}_"))),
        key=len,
        default=None,
    )
    return known.get(name)


def dice(result: np.ndarray, truth: np.ndarray, label: int) -> float:
    """Dice coefficient of one label: twice the common voxels by the sum of both, 0 to 1; NaN if
    both are empty.

    result, truth: integer label maps of the same shape.
    """
    _check_shapes(result, truth)
    a, b = result == label, truth == label
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else float("nan")


def measure(
    result: np.ndarray, truth: np.ndarray, label: int, ijk_to_ras: np.ndarray
) -> dict[str, float]:
    """All of `METRICS` for one label; empty structures by the module's rule.

    result, truth: integer label maps [k, j, i] on the grid ``ijk_to_ras`` (4 x 4, mm).
    """
    _check_shapes(result, truth)
    a, b = result == label, truth == label
    tp, in_result, in_truth = int((a & b).sum()), int(a.sum()), int(b.sum())
    either = in_result + in_truth - tp
    if not either:
        return dict.fromkeys(METRICS, float("nan"))
    grid = Grid(truth.shape, np.asarray(ijk_to_ras, float))
    values = missed(grid) | {
        "dice": 2 * tp / (in_result + in_truth),
        "jaccard": tp / either,
        "precision": tp / in_result if in_result else 0.0,
        "sensitivity": tp / in_truth if in_truth else 0.0,
        "accuracy": 1.0 - (either - tp) / truth.size,
        "volume_difference_ml": (in_result - in_truth) * grid.voxel_ml,
    }
    if in_result and in_truth:
        apart = surface_distances(a, b, grid.ijk_to_ras)
        values |= {
            "hd95_mm": apart.percentile_mm(95.0),
            "assd_mm": apart.mean_mm(),
            "nsd_1mm": apart.within(1.0),
        }
    return values


def missed(grid: Grid) -> dict[str, float]:
    """All of `METRICS` for a structure that was not found at all, on a truth's grid; the volume
    difference is left at 0.
    """
    values = dict.fromkeys(METRICS, 0.0)
    return values | {name: diagonal_mm(grid) for name in ("hd95_mm", "assd_mm")}


def _check_shapes(result: np.ndarray, truth: np.ndarray) -> None:
    if result.shape != truth.shape:
        raise ValueError(
            f"label maps of shapes {result.shape} and {truth.shape} cannot be compared"
        )


def near_foreground(
    labels: np.ndarray, answer: np.ndarray, spacing_mm=(1.0, 1.0, 1.0)
) -> np.ndarray:
    """The voxels that calibration is measured on: those within `NEAR_MM` of a structure of the
    truth or the answer.

    labels, answer: integer label maps [k, j, i]. Returns bool [k, j, i], all False where both are
    empty.
    """
    there = (labels > 0) | (answer > 0)
    if not there.any():
        return there
    return ndimage.distance_transform_edt(~there, sampling=spacing_mm) <= NEAR_MM


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 15, spacing_mm=(1.0, 1.0, 1.0)
) -> float:
    """Expected calibration error (ECE) of the likeliest class, 0 (what is said with 80 % is right
    in 80 %) to 1.

    Over the voxels `near_foreground` of the labels and of the answer (the likeliest class), because
    the sure and right background beyond would hide everything; NaN where there are none.
    probabilities: (c, k, j, i), background first, summing to 1. labels: the true class of each
    voxel [k, j, i]. Source: Guo et al., On Calibration of Modern Neural Networks, 2017 (equal-width
    bins).
    """
    return calibration_error(reliability(probabilities, labels, bins, spacing_mm))


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 15, spacing_mm=(1.0, 1.0, 1.0)
) -> np.ndarray:
    """(bins, 3): how many voxels were said with such a confidence, the sum of it, and how many of
    them were right.

    As for `expected_calibration_error`; the tables of several cases add up to that of all their
    voxels.
    """
    if probabilities.shape[1:] != labels.shape:
        raise ValueError(
            f"probabilities of shape {probabilities.shape} do not belong to labels of shape"
            f" {labels.shape}"
        )
    answer = probabilities.argmax(0)
    near = near_foreground(labels, answer, spacing_mm)
    confidence = probabilities.max(0)[near].astype(float)
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return np.stack(
        [
            np.bincount(which, weights, bins)
            for weights in (None, confidence, (answer == labels)[near].astype(float))
        ],
        1,
    ).astype(float)


def calibration_error(table: np.ndarray) -> float:
    """The expected calibration error of a `reliability` table; NaN for an empty one."""
    count, said, right = table.T
    return float(np.abs(said - right).sum() / count.sum()) if count.sum() else float("nan")


@dataclass(frozen=True)
class RiskCoverage:
    """Areas under the risk-coverage curve, each 0 to 1, smaller is better.

    area: of the given uncertainty. random: of one that knows nothing, which is the error rate.
    best: of one that puts all errors last.
    """

    area: float
    random: float
    best: float


def risk_coverage_area(uncertainty: np.ndarray, errors: np.ndarray) -> RiskCoverage:
    """Whether high uncertainty marks the errors: the error rate among the surest voxels, averaged
    over all shares.

    uncertainty: any shape, higher is less sure. errors: bool, the same shape: where the answer is
    wrong. Voxels of equal uncertainty count as being in random order, so that a constant map scores
    as random. NaN without voxels. Source: Geifman and El-Yaniv, Selective Classification for Deep
    Neural Networks, 2017.
    """
    if uncertainty.shape != errors.shape:
        raise ValueError(
            f"uncertainty of shape {uncertainty.shape} and errors of shape {errors.shape} do not"
            " match"
        )
    count, wrong = errors.size, int(np.count_nonzero(errors))
    if not count:
        return RiskCoverage(*[float("nan")] * 3)
    levels, level = np.unique(uncertainty.ravel(), return_inverse=True)
    size, failed = (
        np.bincount(level, minlength=len(levels)),
        np.bincount(level, errors.ravel(), len(levels)),
    )
    kept = np.arange(1, count + 1)
    ends = np.concatenate([[0], np.cumsum(size)])
    expected = np.interp(
        kept, ends, np.concatenate([[0], np.cumsum(failed)])
    )  # errors among the surest, ties shared
    ideal = np.maximum(kept - (count - wrong), 0)
    return RiskCoverage(
        float((expected / kept).mean()), wrong / count, float((ideal / kept).mean())
    )


def summarize(
    values: Sequence[float], groups: Sequence[Hashable] | None = None
) -> dict[str, float]:
    """n, mean, sd (n - 1), median, low and high (95 % interval of the mean, see
    `bootstrap_interval`).

    values: (n,), NaN where missing: left out. groups: (n,) which group each value belongs to.
    """
    values = np.asarray(values, float)
    there = np.isfinite(values)
    kept = values[there]
    if not len(kept):
        return {"n": 0} | dict.fromkeys(("mean", "sd", "median", "low", "high"), float("nan"))
    low, high = bootstrap_interval(
        kept, [g for g, t in zip(groups, there) if t] if groups is not None else None
    )
    sd = float(kept.std(ddof=1)) if len(kept) > 1 else float("nan")
    return {
        "n": len(kept),
        "mean": float(kept.mean()),
        "sd": sd,
        "median": float(np.median(kept)),
        "low": low,
        "high": high,
    }


def bootstrap_interval(
    values: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    repeats: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval (`expanded_percentiles`) of the mean over whole groups drawn with replacement.

    Cases of one group (two sides of one head) are not independent, so they are drawn together; each
    value keeps the same weight. Without groups each value is a group of its own. NaN for fewer than
    two groups. Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section
    3.8.
    """
    values = np.asarray(values, float)
    ids = (
        np.unique([str(g) for g in groups], return_inverse=True)[1]
        if groups is not None
        else np.arange(len(values))
    )
    count = int(ids.max()) + 1 if len(ids) else 0
    if count < 2:
        return float("nan"), float("nan")
    sums, sizes = np.bincount(ids, values), np.bincount(ids)
    drawn = np.random.default_rng(seed).integers(0, count, (repeats, count))  # (repeats, groups)
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    return expanded_percentiles(means, count, level)


def expanded_percentiles(draws: np.ndarray, count: int, level: float = 0.95) -> tuple[float, float]:
    """The interval between the draws' quantiles at `tail_share` of a bootstrap over ``count``
    groups.
    """
    tail = tail_share(count, level)
    return tuple(float(q) for q in np.quantile(draws, [tail, 1 - tail]))


def tail_share(count: int, level: float = 0.95) -> float:
    """Share of the draws that a bootstrap over ``count`` groups leaves out on each side.

    The usual (1 - level) / 2 gives intervals that are too narrow where there are few groups. This
    smaller share makes them as wide as Student's where the means of the draws are normal;
    Testing/test_metrics.py counts how often both hold the truth. Source: Hesterberg, What Teachers
    Should Know about the Bootstrap, The American Statistician 2015 (expanded percentile).
    """
    return float(ndtr(math.sqrt(count / (count - 1)) * stdtrit(count - 1, (1 - level) / 2)))


def group_means(values: Sequence[float], groups: Sequence[Hashable]) -> dict[Hashable, float]:
    """Mean of each group's values, NaN left out; NaN for a group without any."""
    found: dict[Hashable, list[float]] = {}
    for value, group in zip(values, groups):
        found.setdefault(group, []).append(value)
    kept = {group: [v for v in each if np.isfinite(v)] for group, each in found.items()}
    return {group: float(np.mean(each)) if each else float("nan") for group, each in kept.items()}
