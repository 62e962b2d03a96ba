"""Paired comparisons of arms (models, or ways of training one) that were measured on the same
cases.

The unit is the group: the head or patient. The seeds of an arm, then the structures of a case, then
the cases of a group are averaged, so that each group gives one pair of values. Tests and intervals
are over groups: an interval says how much other patients would change the answer, not how much
other seeds would.

Rule for missing values: where every table of both arms has none (neither label map has the
structure), the case's structure is left out. Where only some have none, those rightly found
nothing, and count as perfect (1, or 0 mm): outlining an absent structure costs an arm something.
For a column that is not in `METRICS` a missing value has no such meaning, and the case is left out
if any table lacks it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array

from .group_statistics import (
    COMPARISON_REPEATS,
    bootstrap_interval,
    excluded_margin,
    group_means,
)
from .multiple_tests import AdjustedP, holm
from .overlap import METRICS, metric_of
from .sign_flips import ROUND_OFF, sign_flips

# case -> column such as "dice_anterior" -> value, NaN where there is none
Table = Mapping[str, Mapping[str, float]]
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """One paired test: first against second.

    metric: "dice" (mean over structures) or a column ("dice_anterior"). n: groups (pairs).
    differing: pairs that are not equal, which alone enter the test. difference: mean over groups of
    first minus second; low, high: its 95 % bootstrap interval over groups. p: two-sided paired
    permutation test of that mean; p_holm: after Holm's correction over all tests of one call.
    p_error, p_holm_error: their Monte-Carlo standard errors, 0 where they are exact. better: the
    better arm, where p_holm < 0.05; else "". note: remarks on the test.
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
    p_error: float = 0.0
    p_holm: float = float("nan")
    p_holm_error: float = 0.0
    better: str = ""
    note: str = ""

    @property
    def margin(self) -> float:
        """The smallest margin that the interval excludes, either way (`excluded_margin`)."""
        return excluded_margin(self.low, self.high)


def paired_tests(
    arms: Mapping[str, Sequence[Table]],
    groups: Mapping[str, str],
    metrics: Sequence[str] = ("dice",),
    pairs: Sequence[tuple[str, str]] | None = None,
) -> list[Comparison]:
    """Paired permutation tests between arms, with Holm's correction over all of them.

    arms: name -> one table for each seed; all seeds of an arm hold the same cases. Arms are
    compared on the cases that both have. groups: case -> its head or patient. metrics: each the
    name of a metric ("dice": the mean over the structures of a case) or of one column
    ("dice_anterior"). pairs: which arms to compare (None: each with each). volume_difference_ml is
    compared by its magnitude. Raises `UserError` for arms with nothing in common and for metrics
    that no table has. The test: `sign_flips`, exact for up to 40 differing pairs.
    """
    pairs = list(itertools.combinations(arms, 2)) if pairs is None else list(pairs)
    tests = [
        _uncorrected_test(metric, pair, [list(arms[name]) for name in pair], groups)
        for metric in map(full_name, metrics)
        for pair in pairs
    ]
    corrected = holm([test.p for test in tests], [test.p_error for test in tests])
    return [_concluded(test, adjusted) for test, adjusted in zip(tests, corrected, strict=True)]


def full_name(metric: str) -> str:
    """The name in the tables of a metric without its unit ("hd95": "hd95_mm"); others unchanged."""
    return next((name for name in METRICS if metric == name.split("_")[0]), metric)


def arm_values(
    arms: Mapping[str, Sequence[Table]], groups: Mapping[str, str], metric: str = "dice"
) -> dict[str, Array]:
    """The values that are tested, (groups,) for each arm's name.

    They cover the cases and columns that all arms have.
    """
    names, tables = list(arms), [list(seeds) for seeds in arms.values()]
    cases = _common_cases(names, tables)
    columns = _common_columns(full_name(metric), names, tables).shared
    return dict(zip(names, group_values(tables, cases, columns, groups), strict=True))


def _uncorrected_test(
    metric: str, names: tuple[str, str], tables: list[list[Table]], groups: Mapping[str, str]
) -> Comparison:
    """Compare two arms, before Holm's correction. tables: for each arm, one table for each seed."""
    cases = _common_cases(names, tables)
    columns = _common_columns(metric, names, tables)
    first, second = group_values(tables, cases, columns.shared, groups)
    if not len(first):
        raise UserError(
            f'"{names[0]}" and "{names[1]}" have no values of "{metric}" to compare in the cases'
            " they share; choose another metric."
        )
    differences = first - second
    differences[np.abs(differences) < ROUND_OFF] = 0.0
    test = sign_flips(differences)
    notes = [columns.note(), _left_out_note(*tables), _pairs_note(test.units, len(differences))]
    low, high = bootstrap_interval(differences, repeats=COMPARISON_REPEATS)
    return Comparison(
        metric,
        first=names[0],
        second=names[1],
        n=len(first),
        differing=test.units,
        mean_first=float(first.mean()),
        mean_second=float(second.mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        p=test.p,
        p_error=test.error,
        note=_joined(notes),
    )


def _left_out_note(first: list[Table], second: list[Table]) -> str:
    count = len(set(first[0]) ^ set(second[0]))
    return f"without {count} case{'s' * (count > 1)} that only one arm has" if count else ""


def _pairs_note(differing: int, pairs: int) -> str:
    """A note where too few pairs differ for a significant p, or some pairs are equal."""
    if not differing:
        return ""
    smallest_p = 2.0 ** (1 - differing)
    if smallest_p >= SIGNIFICANT:
        return (
            f"too few: {differing} differing pair{'s' * (differing > 1)} cannot give p below "
            f"{min(1.0, smallest_p):.2g}"
        )
    equal = pairs - differing
    return f"{equal} equal pair{'s' * (equal > 1)}" if equal else ""


def _joined(notes: Sequence[str]) -> str:
    return "; ".join(note for note in notes if note)


def _common_cases(names: Sequence[str], tables: list[list[Table]]) -> list[str]:
    """The cases that all arms have; `UserError` unless the seeds of each arm hold the same."""
    for name, seeds in zip(names, tables, strict=True):
        for table in seeds[1:]:
            if set(table) != set(seeds[0]):
                odd = sorted(set(table) ^ set(seeds[0]))
                raise UserError(
                    f'The tables of "{name}" do not hold the same cases ("{odd[0]}" is missing in'
                    " one); measure each seed on the same cases."
                )
    cases = [case for case in tables[0][0] if all(case in seeds[0] for seeds in tables)]
    if not cases:
        raise UserError(f"{_quoted(names)} have no case in common; measure them on the same data.")
    return cases


@dataclass(frozen=True)
class _Columns:
    """A metric's columns: those in every table, and those that only some tables have."""

    shared: list[str]
    left_out: list[str]

    def note(self) -> str:
        if not self.left_out:
            return ""
        return f"without {', '.join(self.left_out)}, which not all tables have"


def _common_columns(metric: str, names: Sequence[str], tables: list[list[Table]]) -> _Columns:
    by_table = [_columns_of(metric, table) for seeds in tables for table in seeds]
    shared = [column for column in by_table[0] if all(column in other for other in by_table)]
    if metric in shared:  # the full name of one column
        return _Columns([metric], [])
    if not shared:
        raise UserError(
            f'{_quoted(names)} have no column of "{metric}" in common; use a metric that all tables'
            " have."
        )
    return _Columns(shared, sorted({c for columns in by_table for c in columns} - set(shared)))


def _columns_of(metric: str, table: Table) -> list[str]:
    """The columns of a table that hold the metric, as a whole or for one structure each."""
    columns = dict.fromkeys(itertools.chain.from_iterable(table.values()))
    return [c for c in columns if c == metric or c.startswith(f"{metric}_")]


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(f'"{name}"' for name in names)


def group_values(
    tables: list[list[Table]],
    cases: Sequence[str],
    columns: Sequence[str],
    groups: Mapping[str, str],
) -> list[Array]:
    """One value for each arm and group: seeds, then structures, then a group's cases averaged.

    tables: for each arm, one table for each seed. Returns (groups,) for each arm. Missing values
    follow the module's rule.
    """
    by_arm = [
        np.array([[_row(table[case], columns) for case in cases] for table in seeds], float)
        for seeds in tables
    ]  # (seeds, cases, columns)
    perfect = np.array([_perfect_value(column) for column in columns])
    signed = np.array([column.startswith("volume_difference_ml") for column in columns])
    present = np.isfinite(np.concatenate(by_arm))  # (seeds of all arms, cases, columns)
    used = present.any(0) & (present.all(0) | np.isfinite(perfect))  # (cases, columns)
    has_value = used.any(1)
    case_groups = [groups[case] for case, kept in zip(cases, has_value, strict=True) if kept]
    means = []
    for values in by_arm:
        magnitudes = np.where(signed, np.abs(values), values)
        over_seeds = np.where(np.isfinite(magnitudes), magnitudes, perfect).mean(0)
        sums = np.where(used, over_seeds, 0.0)[has_value].sum(1)
        by_case = sums / used[has_value].sum(1)
        means.append(np.array(list(group_means(by_case, case_groups).values())))
    return means


def _row(values: Mapping[str, float], columns: Sequence[str]) -> list[float]:
    return [values.get(column, np.nan) for column in columns]


def _perfect_value(column: str) -> float:
    """What a missing value counts as where other tables have one; NaN where it has no meaning."""
    metric = metric_of(column)
    return metric.best if metric is not None and metric in METRICS.values() else np.nan


def _concluded(test: Comparison, adjusted: AdjustedP) -> Comparison:
    """The test after Holm's correction, with the arm that it favours or a note why none."""
    result = replace(test, p_holm=adjusted.p, p_holm_error=adjusted.error)
    if not result.differing:
        return replace(result, note=_joined(["no difference in any pair", result.note]))
    if not result.p_holm < SIGNIFICANT:
        return result
    higher, lower = result.first, result.second
    if result.difference <= 0:
        higher, lower = lower, higher
    metric = metric_of(result.metric)
    if metric is None:  # not one of our columns: whether high is good is unknown
        return replace(result, note=_joined([f"{higher} is higher", result.note]))
    return replace(result, better=higher if metric.best else lower)
