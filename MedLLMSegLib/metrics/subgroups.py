"""Who is served how well, and what a column of the table gives away: subgroups at one fixed
threshold, and shortcuts.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .classification import REPEATS, Answer, area_under_roc, figures


def subgroup_table(
    truth: np.ndarray,
    answers: Sequence[Answer],
    groups: Sequence[Hashable],
    columns: Mapping[str, Sequence[str]],
    repeats: int = REPEATS,
) -> list[dict]:
    """One row for each value of each column: {"column", "value", "n", "patients", "positive",
    figures...} at one fixed threshold.

    truth, answers, groups: as for `figures`. columns: name -> (n,) values as text; empty ones count
    as "not stated". positive: share of cases not of the first class.
    """
    truth, groups = np.asarray(truth), np.asarray([str(g) for g in groups])
    rows = []
    for column, values in columns.items():
        values = np.array([v or "not stated" for v in values])
        for value in sorted(set(values.tolist())):
            chosen = values == value
            found = figures(
                truth[chosen], [(p[chosen], t) for p, t in answers], groups[chosen], repeats
            )
            rows.append(
                {
                    "column": column,
                    "value": value,
                    "n": int(chosen.sum()),
                    "patients": len(set(groups[chosen])),
                    "positive": round(float((truth[chosen] > 0).mean()), 5),
                    **{name: each.to_dict() for name, each in found.items()},
                }
            )
    return rows


def age_band(age: str) -> str:
    """A table's age in years as a band of twenty years; "not stated" for what no age can be."""
    try:
        years = float(age)
    except ValueError:
        return "not stated"
    if not 0 <= years <= 120:
        return "not stated"
    low = int(years // 20) * 20
    return f"{low}-{low + 19}" if low < 80 else "80 or more"


@dataclass(frozen=True)
class Shortcut:
    """What a column gives away: accuracy and AUC of guessing the class from it alone. rule:
    value -> the class it is taken for.
    """

    rule: dict[str, int]
    accuracy: float
    auc: float
    n: int


def shortcut(
    train_values: Sequence[str], train_truth: np.ndarray, values: Sequence[str], truth: np.ndarray
) -> Shortcut:
    """Guess each class from a column, by the share of the second class among the training cases
    with the same value.
    """
    train_truth, truth = np.asarray(train_truth), np.asarray(truth)
    train_values, values = np.asarray(train_values), np.asarray(values)
    classes = int(max(train_truth.max(), truth.max())) + 1
    overall = np.bincount(train_truth, minlength=classes) / len(train_truth)
    share = {
        v: (
            np.bincount(train_truth[train_values == v], minlength=classes)
            / (train_values == v).sum()
        )
        for v in set(train_values.tolist())
    }
    guessed = np.stack([share.get(v, overall) for v in values.tolist()])
    return Shortcut(
        {v: int(s.argmax()) for v, s in sorted(share.items())},
        float((guessed.argmax(1) == truth).mean()),
        area_under_roc(truth, guessed),
        len(truth),
    )
