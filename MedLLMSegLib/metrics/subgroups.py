"""A classifier in subgroups, and what a column of the table gives away (shortcuts)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from MedLLMSegLib.core.types import Array

from .classification import area_under_roc
from .classification_intervals import REPEATS, Answer, classification_figures

NOT_STATED = "not stated"


def subgroup_table(
    truth: ArrayLike,
    answers: Sequence[Answer],
    groups: Sequence[Hashable],
    columns: Mapping[str, Sequence[str]],
    repeats: int = REPEATS,
) -> list[dict[str, Any]]:
    """The figures of each subgroup, all at the same threshold.

    One row for each value of each column: {"column", "value", "n", "patients", "positive" (the
    share of cases not of the first class), figures...}.

    truth, answers, groups: as for `classification_figures`. columns: name -> (n,) values as text;
    empty ones count as "not stated".
    """
    all_truth, all_groups = np.asarray(truth), np.asarray([str(g) for g in groups])
    rows = []
    for column, texts in columns.items():
        values = np.array([text or NOT_STATED for text in texts])
        for value in sorted(set(values.tolist())):
            chosen = values == value
            chosen_truth, chosen_groups = all_truth[chosen], all_groups[chosen].tolist()
            chosen_answers = [(p[chosen], threshold) for p, threshold in answers]
            figures = classification_figures(chosen_truth, chosen_answers, chosen_groups, repeats)
            rows.append(
                {
                    "column": column,
                    "value": value,
                    "n": int(chosen.sum()),
                    "patients": len(set(chosen_groups)),
                    "positive": round(float((chosen_truth > 0).mean()), 5),
                    **{name: estimate.to_dict() for name, estimate in figures.items()},
                }
            )
    return rows


def age_band(age: str) -> str:
    """An age in years as a band of twenty years; "not stated" for what is no possible age."""
    try:
        years = float(age)
    except ValueError:
        return NOT_STATED
    if not 0 <= years <= 120:
        return NOT_STATED
    low = int(years // 20) * 20
    return f"{low}-{low + 19}" if low < 80 else "80 or more"


@dataclass(frozen=True)
class Shortcut:
    """How well a column alone predicts the class.

    rule: value -> the class that is predicted for it. accuracy, auc: of these predictions on n
    cases.
    """

    rule: dict[str, int]
    accuracy: float
    auc: float
    n: int


def measure_shortcut(
    train_values: Sequence[str],
    train_truth: ArrayLike,
    values: Sequence[str],
    truth: ArrayLike,
) -> Shortcut:
    """Predict each class from one column alone, learnt from the training cases.

    The prediction for a value is the share of each class among the training cases with that value;
    for a value that training lacks, the share among all of them.
    """
    known_truth, known_values = np.asarray(train_truth), np.asarray(train_values)
    tested_truth, tested_values = np.asarray(truth), np.asarray(values)
    classes = int(max(known_truth.max(), tested_truth.max())) + 1

    def class_shares(classes_of_cases: Array) -> Array:
        return np.bincount(classes_of_cases, minlength=classes) / len(classes_of_cases)

    overall = class_shares(known_truth)
    shares = {
        value: class_shares(known_truth[known_values == value])
        for value in set(known_values.tolist())
    }
    predicted = np.stack([shares.get(value, overall) for value in tested_values.tolist()])
    return Shortcut(
        rule={value: int(share.argmax()) for value, share in sorted(shares.items())},
        accuracy=float((predicted.argmax(1) == tested_truth).mean()),
        auc=area_under_roc(tested_truth, predicted),
        n=len(tested_truth),
    )
