"""Paired comparisons of arms (models, or ways of training one) that were measured on the same
cases.

The unit is the group: the head or patient. The seeds of an arm, then the structures of a case, then
the cases of a group are averaged first, so that each group gives one pair of values, and each test
and interval is over groups. An interval therefore says how much other patients would change the
answer, not how much other seeds would.

Rule for values that are missing: where every table of both arms has none (neither label map has the
structure), the case's structure is left out. Where only some have none, those were right to find
nothing there, and count as perfect (1, or 0 mm): so outlining a structure that is not there costs
an arm something. For a column that is not in `METRICS` a missing value says nothing of the kind,
and the case is left out as soon as one table lacks it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MedLLMSegLib.core.errors import UserError

from .overlap import METRICS, bootstrap_interval, group_means, metric_of

Table = Mapping[
    str, Mapping[str, float]
]  # case -> column such as "dice_anterior" -> value, NaN where there is none
SIGNIFICANT = 0.05
OPPOSITE = "most pairs point one way and the mean the other"
_SAME = 1e-9  # smaller differences are round-off


@dataclass(frozen=True)
class Comparison:
    """One paired test: first against second.

    metric: "dice" (mean over structures) or a column ("dice_anterior"). n: groups (pairs).
    differing: pairs that are not equal, which alone enter the test. difference: mean over groups of
    first minus second; low, high: its 95 % bootstrap interval over groups. p: two-sided Wilcoxon
    signed-rank test; p_holm: after Holm's correction over all tests of one call. better: the better
    arm, where p_holm < 0.05 and ranks and mean agree; else "". note: what to know besides.
    """

    metric: str
    first: str
    second: str
    n: int
    differing: int
    mean_first: float
    mean_second: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float = float("nan")
    better: str = ""
    note: str = ""


def paired_tests(
    arms: Mapping[str, Sequence[Table]],
    groups: Mapping[str, str],
    metrics: Sequence[str] = ("dice",),
    pairs: Sequence[tuple[str, str]] | None = None,
) -> list[Comparison]:
    """Wilcoxon signed-rank tests between arms, with Holm's correction over all of them.

    arms: name -> one table for each seed; all seeds of an arm hold the same cases. Arms are
    compared on the cases that both have. groups: case -> its head or patient. metrics: each the
    name of a metric ("dice": the mean over the structures of a case) or of one column
    ("dice_anterior"). pairs: which arms to compare (None: each with each). volume_difference_ml is
    compared by its magnitude. Raises `UserError` for arms with nothing in common and for metrics
    that no table has. Sources: Wilcoxon 1945 (equal pairs are left out of the ranks); Holm 1979.
    """
    pairs = list(itertools.combinations(arms, 2)) if pairs is None else list(pairs)
    metrics = [full_name(metric) for metric in metrics]
    found = [
        _compare(metric, pair, [list(arms[name]) for name in pair], groups)
        for metric in metrics
        for pair in pairs
    ]
    corrected = holm([each[0].p for each in found])
    return [_judged(replace(c, p_holm=p), favours) for (c, favours), p in zip(found, corrected)]


def full_name(metric: str) -> str:
    """The name in the tables of a metric that was given without its unit ("hd95": "hd95_mm");
    others as they are.
    """
    return next((name for name in METRICS if metric == name.split("_")[0]), metric)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given."""
    count, running = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def arm_values(
    arms: Mapping[str, Sequence[Table]], groups: Mapping[str, str], metric: str = "dice"
) -> dict[str, np.ndarray]:
    """What is tested: name of each arm -> one value for each group, over the cases and columns
    that all arms have.
    """
    names, tables, metric = list(arms), [list(seeds) for seeds in arms.values()], full_name(metric)
    values = group_values(
        tables, _common_cases(names, tables), _columns(metric, names, tables)[0], groups
    )
    return dict(zip(names, values))


def _compare(
    metric: str, names: tuple[str, str], tables: list[list[Table]], groups
) -> tuple[Comparison, float]:
    """One test without Holm's correction, and the sign of its ranks: above 0 where the first
    arm's values are higher.
    """
    cases = _common_cases(names, tables)
    columns, notes = _columns(metric, names, tables)
    first, second = group_values(tables, cases, columns, groups)
    if not len(first):
        raise UserError(
            f'"{names[0]}" and "{names[1]}" have no values of "{metric}" to compare in the cases'
            " they share; choose another metric."
        )
    left_out = len(set(tables[0][0]) ^ set(tables[1][0]))
    notes += (
        [f"without {left_out} case{'s' * (left_out > 1)} that only one arm has"] if left_out else []
    )
    apart = first - second
    apart[np.abs(apart) < _SAME] = 0.0
    p, sign, differing = signed_rank(apart)
    if differing and 2.0 / 2**differing >= SIGNIFICANT:
        notes.append(
            f"too few: {differing} differing pair{'s' * (differing > 1)} cannot give p below "
            f"{min(1.0, 2.0 / 2**differing):.2g}"
        )
    elif 0 < differing < len(apart):
        notes.append(f"{len(apart) - differing} equal pair{'s' * (len(apart) - differing > 1)}")
    if sign * apart.mean() < 0:
        notes.append(OPPOSITE)
    low, high = bootstrap_interval(apart)
    return (
        Comparison(
            metric,
            *names,
            len(first),
            differing,
            float(first.mean()),
            float(second.mean()),
            float(apart.mean()),
            low,
            high,
            p,
            note="; ".join(notes),
        ),
        sign,
    )


def _common_cases(names: Sequence[str], tables: list[list[Table]]) -> list[str]:
    for name, seeds in zip(names, tables):
        for table in seeds[1:]:
            if set(table) != set(seeds[0]):
                odd = sorted(set(table) ^ set(seeds[0]))
                raise UserError(
                    f'The tables of "{name}" do not hold the same cases ("{odd[0]}" is missing in'
                    " one); measure each seed on the same cases."
                )
    cases = [case for case in tables[0][0] if all(case in seeds[0] for seeds in tables)]
    if not cases:
        raise UserError(f"{_listed(names)} have no case in common; measure them on the same data.")
    return cases


def _columns(
    metric: str, names: Sequence[str], tables: list[list[Table]]
) -> tuple[list[str], list[str]]:
    """The columns of a metric that every table has, and a note on those that only some have."""
    each = [
        [
            c
            for c in dict.fromkeys(itertools.chain.from_iterable(table.values()))
            if c == metric or c.startswith(f"{metric}_")
        ]
        for seeds in tables
        for table in seeds
    ]
    shared = [c for c in each[0] if all(c in others for others in each)]
    if metric in shared:  # one column by its whole name
        return [metric], []
    if not shared:
        raise UserError(
            f'{_listed(names)} have no column of "{metric}" in common; use a metric that all tables'
            " have."
        )
    odd = sorted({c for columns in each for c in columns} - set(shared))
    return shared, [f"without {', '.join(odd)}, which not all tables have"] if odd else []


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f'"{name}"' for name in names)


def group_values(
    tables: list[list[Table]], cases: Sequence[str], columns: Sequence[str], groups
) -> list[np.ndarray]:
    """One value for each arm and group, (groups,) each: seeds, then structures, then the group's
    cases averaged.

    tables: for each arm one table for each seed. Missing values: see the module's rule.
    """
    values = [
        np.array(
            [[[table[case].get(c, np.nan) for c in columns] for case in cases] for table in seeds],
            float,
        )
        for seeds in tables
    ]  # (seeds, cases, columns)
    perfect = np.array(
        [metric_of(c).best if metric_of(c) in METRICS.values() else np.nan for c in columns]
    )
    signed = np.array([c.startswith("volume_difference_ml") for c in columns])
    there = np.isfinite(np.concatenate(values))  # (seeds of all, cases, columns)
    used = there.any(0) & (there.all(0) | np.isfinite(perfect))  # (cases, columns)
    kept = used.any(1)
    names = [groups[case] for case, keep in zip(cases, kept) if keep]
    means = []
    for each in values:
        each = np.where(signed, np.abs(each), each)
        filled = np.where(np.isfinite(each), each, perfect).mean(0)  # (cases, columns)
        by_case = np.where(used, filled, 0.0)[kept].sum(1) / used[kept].sum(1)
        means.append(np.array(list(group_means(by_case, names).values())))
    return means


def signed_rank(differences: np.ndarray) -> tuple[float, float, int]:
    """Two-sided Wilcoxon signed-rank test of (n,) differences: p, the sign of the rank sum, pairs
    that differ.

    Equal pairs have no sign and are left out. With none left there is no difference to test and p
    is 1. Exact up to 50 pairs without ties, and up to 13 with; else by the normal approximation.
    """
    from scipy.stats import rankdata, wilcoxon

    there = differences[differences != 0]
    if not len(there):
        return 1.0, 0.0, 0
    there = np.round(there / _SAME) * _SAME  # so that equal differences tie in spite of round-off
    sign = float(np.sign((np.sign(there) * rankdata(np.abs(there))).sum()))
    return float(wilcoxon(there, method="auto").pvalue), sign, len(there)


def _judged(c: Comparison, sign: float) -> Comparison:
    """With the arm that the test favours, and a note where nothing differs."""
    if not c.differing:
        return replace(c, note="; ".join(filter(None, ["no difference in any pair", c.note])))
    if not c.p_holm < SIGNIFICANT or OPPOSITE in c.note:
        return c
    higher, lower = (c.first, c.second) if sign > 0 else (c.second, c.first)
    metric = metric_of(c.metric)
    if metric is None:  # somebody else's column: whether high is good is not ours to say
        return replace(c, note="; ".join(filter(None, [f"{higher} is higher", c.note])))
    return replace(c, better=higher if metric.best else lower)
