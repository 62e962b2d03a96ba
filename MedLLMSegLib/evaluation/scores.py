"""The table of an evaluation, one row a case, and its summary as a dict."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data import assumed_alone, group_of
from MedLLMSegLib.metrics.group_statistics import group_means, summarize
from MedLLMSegLib.metrics.overlap import CASE_METRICS, METRICS, RULE

FAILED_RULE = (
    "a case that could not be segmented counts as one in which nothing was found, with accuracy 0"
)
SURFACES = (
    "a structure's surface is its voxels with a face neighbour outside it; distances run from"
    " centre to centre, in true mm, and each surface voxel counts the same"
)


@dataclass
class Score:
    """The score of one case.

    group: its head or patient. values: column ("dice_anterior", "ece") -> value, NaN where it is
    missing. error: why the case has no result. labels: the label values of the truth. charged:
    structures that only one of the two label maps has, and that therefore count as missed (see
    `metrics.overlap.RULE`).
    """

    case: str
    group: str
    values: dict[str, float] = field(default_factory=dict)
    error: str = ""
    labels: frozenset[int] = frozenset()
    charged: tuple[str, ...] = ()


def structures_of(scores: Sequence[Score]) -> list[str]:
    """The keys of all structures, in the order of their first appearance."""
    columns = [column for score in scores for column in score.values]
    keys = [column.removeprefix("dice_") for column in columns if column.startswith("dice_")]
    return list(dict.fromkeys(keys))


def column_values(scores: Sequence[Score], column: str) -> list[float]:
    """One value for each score, NaN where it has none."""
    return [score.values.get(column, math.nan) for score in scores]


def _measured_case_metrics(scores: Sequence[Score]) -> list[str]:
    """Those of `CASE_METRICS` that any score has."""
    return [name for name in CASE_METRICS if any(name in score.values for score in scores)]


def table(scores: Sequence[Score]) -> str:
    """The scores as CSV: case, each metric's column for each structure, then the case's metrics.

    Metrics are in the order of `METRICS`. Cells are blank where a value is missing or does not
    apply.
    """
    columns = [f"{metric}_{key}" for metric in METRICS for key in structures_of(scores)]
    columns += _measured_case_metrics(scores)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", *columns])
    for score in scores:
        values = [score.values.get(column, math.nan) for column in columns]
        cells = ["" if math.isnan(value) else f"{value:.6f}" for value in values]
        writer.writerow([score.case, *cells])
    return text.getvalue()


def summarize_scores(
    scores: Sequence[Score], model: str, source: Path, seconds: float
) -> dict[str, Any]:
    """Statistics of each metric and structure, of the mean over structures, and over groups.

    structures, mean: Dice over cases. heads: Dice over groups, where some group has several cases.
    metrics, group_metrics: metric -> structure -> statistics over cases and over groups. means,
    group_means: metric -> statistics of the mean over structures, over cases and over groups.
    definitions: what each metric is. charged: structure -> number of cases that count as missed.
    Intervals are always over groups. Statistics: see `metrics.group_statistics.summarize`.
    """
    keys, groups = structures_of(scores), [score.group for score in scores]
    columns = {
        metric: {key: column_values(scores, f"{metric}_{key}") for key in keys}
        for metric in METRICS
    }
    case_means = _case_means(scores)

    def over_groups(values: list[float]) -> dict[str, float]:
        return summarize(list(group_means(values, groups).values()))

    metrics = _each_column(columns, lambda values: summarize(values, groups))
    by_group = {name: over_groups(values) for name, values in case_means.items()}
    overall = {name: summarize(values, groups) for name, values in case_means.items()}
    summary = {
        "model": model,
        "data": str(source),
        "cases": len(scores),
        "groups": len(set(groups)),
        "assumption": assumed_alone((score.case, score.group) for score in scores),
        "rule": f"{RULE}; {FAILED_RULE}",
        "failed": {score.case: score.error for score in scores if score.error},
        "charged": _charged_cases(scores, keys),
        "structures": metrics["dice"],
        "mean": overall["dice"],
        "seconds": round(seconds, 1),
        "metrics": metrics,
        "means": overall,
        "group_means": by_group,
        "group_metrics": _each_column(columns, over_groups),
        "definitions": _definitions(),
        "group_of": {score.case: score.group for score in scores},
    }
    if len(set(groups)) < len(groups):
        summary["heads"] = by_group["dice"]
    return summary


def _case_means(scores: Sequence[Score]) -> dict[str, list[float]]:
    """Metric -> the mean over the structures of each case; and the metrics of whole cases."""
    keys = structures_of(scores)
    means = {
        metric: [
            _mean([score.values.get(f"{metric}_{key}", math.nan) for key in keys])
            for score in scores
        ]
        for metric in METRICS
    }
    return means | {name: column_values(scores, name) for name in _measured_case_metrics(scores)}


def _each_column(
    columns: dict[str, dict[str, list[float]]], statistics: Callable[[list[float]], dict]
) -> dict[str, dict[str, dict]]:
    """Metric -> structure -> statistics of its values."""
    return {
        metric: {key: statistics(values) for key, values in by_key.items()}
        for metric, by_key in columns.items()
    }


def _definitions() -> dict[str, str]:
    return {name: metric.meaning for name, metric in METRICS.items()} | {"surfaces": SURFACES}


def _charged_cases(scores: Sequence[Score], keys: Sequence[str]) -> dict[str, int]:
    """structure -> number of cases that are charged with missing it, if any."""
    counts = {key: sum(key in score.charged for score in scores) for key in keys}
    return {key: count for key, count in counts.items() if count}


def _mean(values: Sequence[float]) -> float:
    present = [value for value in values if not math.isnan(value)]
    return sum(present) / len(present) if present else math.nan


def as_json(summary: Json) -> str:
    """JSON text, with null for NaN and infinity."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(content) for key, content in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(summary), indent=1, ensure_ascii=False) + "\n"


def summary_path(csv_path: Path) -> Path:
    """Where the summary of a table lies."""
    return csv_path.with_name(f"{csv_path.stem}.summary.json")


def read_table(path: Path) -> dict[str, dict[str, float]]:
    """case -> column -> value (NaN where blank) of a CSV that `table` wrote.

    Raises `UserError` for anything else.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise UserError(f'The table "{path}" could not be read; check the path.') from error
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(
            f'"{path}" is not a table of scores; give a CSV that `medllmseg evaluate` wrote.'
        ) from error
    if header[0] != "case" or len(header) < 2 or not rows:
        raise UserError(
            f'"{path}" is not a table of scores (its first column must be "case", with a row for'
            " each case); give a CSV that `medllmseg evaluate` wrote."
        )
    values_of: dict[str, dict[str, float]] = {}
    for case, *cells in rows:
        if case in values_of:
            raise _damaged(path, case, "is there twice")
        if len(cells) != len(header) - 1:
            raise _damaged(path, case, f"has {len(cells) + 1} values instead of {len(header)}")
        values_of[case] = {
            column: _number(text, column, case, path)
            for column, text in zip(header[1:], cells, strict=True)
        }
    return values_of


def _damaged(path: Path, case: str, reason: str) -> UserError:
    return UserError(
        f'The case "{case}" of "{path}" {reason}; write the table again with `medllmseg evaluate`.'
    )


def _number(text: str, column: str, case: str, path: Path) -> float:
    try:
        return float(text) if text.strip() else math.nan
    except ValueError as error:
        raise UserError(
            f'The case "{case}" of "{path}" has "{text}" as {column}, and a number is needed; '
            "correct the table."
        ) from error


def read_groups(path: Path, cases: Iterable[str]) -> dict[str, str]:
    """case -> head or patient, from the summary beside a table, else from the cases' names."""
    groups = {case: group_of(case) for case in cases}
    try:
        stated = json.loads(summary_path(path).read_text(encoding="utf-8"))["group_of"]
        return groups | {case: str(group) for case, group in stated.items() if case in groups}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return groups  # no summary, or one of an older version
