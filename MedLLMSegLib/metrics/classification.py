"""How well a classifier tells classes apart: decisions, thresholds, AUC and rates.

Probabilities are (n, classes), an image being a case. Of two classes the second is the positive
one. With more classes, sensitivity, specificity and AUC are means over the classes, each against
the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from MedLLMSegLib.core.types import Array


def decide(probabilities: Array, threshold: float | None = None) -> Array:
    """The class (n,) that probabilities (n, classes) stand for.

    Of two classes it is the second from ``threshold`` on; without a threshold, or with more
    classes, it is the likeliest.
    """
    if probabilities.shape[1] == 2 and threshold is not None:
        return (probabilities[:, 1] >= threshold).astype(int)
    likeliest: Array = probabilities.argmax(1)
    return likeliest


def youden_threshold(truth: ArrayLike, score: ArrayLike) -> float:
    """The threshold on a score (n,) with the largest sensitivity + specificity - 1.

    It lies halfway to the next lower score. Choose it on the validation split, never on test.
    truth: (n,) 0 or 1. Returns 0.5 where only one class is present. Source: Youden 1950.
    """
    truth, score = np.asarray(truth), np.asarray(score, float)
    if len(np.unique(truth)) < 2:
        return 0.5
    false_positive_rate, sensitivity, thresholds = roc_curve(truth, score, drop_intermediate=False)
    chosen = thresholds[int(np.argmax(sensitivity - false_positive_rate))]
    below = score[score < chosen]
    if len(below) and np.isfinite(chosen):
        return float((chosen + below.max()) / 2)
    return float(min(chosen, 1.0))


def area_under_roc(truth: Array, probabilities: Array) -> float:
    """AUC of probabilities (n, classes), where ties count half; NaN with one class only.

    With more than two classes: the mean over the classes that some cases belong to and some do not.
    """
    areas = [
        roc_auc_score(truth == c, probabilities[:, c])
        for c in positive_classes(probabilities.shape[1])
        if 0 < (truth == c).sum() < len(truth)
    ]
    return float(np.mean(areas)) if areas else float("nan")


def sensitivity_at(
    truth: ArrayLike, score: ArrayLike, false_positive_rates: Sequence[float]
) -> list[float]:
    """The largest sensitivity of any threshold whose false-positive rate is at most each given one.

    truth: (n,) 0 or 1. score: (n,) higher is more likely positive.
    """
    false_positive_rate, sensitivity, _ = roc_curve(truth, score, drop_intermediate=False)
    return [float(sensitivity[false_positive_rate <= rate].max()) for rate in false_positive_rates]


def confusion_table(truth: Array, decisions: Array, classes: int) -> Array:
    """Counts (classes, classes) of cases by [truth, decision]."""
    table: Array = confusion_matrix(truth, decisions, labels=range(classes))
    return table


def rates(tables: ArrayLike) -> dict[str, Array]:
    """Sensitivity, specificity and accuracy of confusion tables (..., classes, classes).

    Each is (...,): a scalar for a single table. NaN where a class has no case to count.
    """
    tables = np.asarray(tables, float)  # [..., truth, decision]
    total, correct = tables.sum((-2, -1)), np.einsum("...cc->...c", tables)
    in_truth, decided = tables.sum(-1), tables.sum(-2)
    sensitivity, specificity = [], []
    for c in positive_classes(tables.shape[-1]):
        negatives = total - in_truth[..., c]
        true_negatives = negatives - decided[..., c] + correct[..., c]
        sensitivity.append(divide_or_nan(correct[..., c], in_truth[..., c]))
        specificity.append(divide_or_nan(true_negatives, negatives))
    return {
        "sensitivity": mean_of_finite(np.stack(sensitivity)),
        "specificity": mean_of_finite(np.stack(specificity)),
        "accuracy": divide_or_nan(correct.sum(-1), total),
    }


def positive_classes(classes: int) -> range:
    """The classes that are each measured against the rest: of two only the second."""
    return range(1, 2) if classes == 2 else range(classes)


def divide_or_nan(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, NaN where the denominator is not above 0."""
    blank = np.full(np.shape(numerator), np.nan)
    quotient: Array = np.divide(
        numerator, denominator, out=blank, where=np.asarray(denominator) > 0
    )
    return quotient


def mean_of_finite(values: Array) -> Array:
    """Mean over the first axis of the finite values; NaN where there are none."""
    count = np.isfinite(values).sum(0)
    mean: Array = divide_or_nan(np.nansum(values, 0), count)[()]
    return mean
