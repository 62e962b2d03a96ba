"""The table of an evaluation, one row a case, and its summary: written, read back and printed."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.data import group_of
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
    """One case. values: column ("dice_anterior", "ece") -> value, NaN where it is missing. error:
    why it has no result.

    group: its head or patient. labels: which label values the truth has. charged: structures that
    only one of the two label maps has, and that therefore count as missed (see `metrics.RULE`).
    """

    case: str
    group: str
    values: dict[str, float] = field(default_factory=dict)
    error: str = ""
    labels: frozenset[int] = frozenset()
    charged: tuple[str, ...] = ()


def structures_of(scores: list[Score]) -> list[str]:
    """The keys of all structures, in the order in which they came up."""
    return list(
        dict.fromkeys(
            c.removeprefix("dice_") for s in scores for c in s.values if c.startswith("dice_")
        )
    )


def table(scores: list[Score]) -> str:
    """The CSV: case, the metrics in the order of `METRICS` with a column for each structure, then
    those of the case.

    Blank where a value is missing or does not apply.
    """
    columns = [f"{metric}_{key}" for metric in METRICS for key in structures_of(scores)]
    columns += [name for name in CASE_METRICS if any(name in s.values for s in scores)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", *columns])
    for s in scores:
        values = [s.values.get(column, math.nan) for column in columns]
        writer.writerow([s.case, *("" if math.isnan(v) else f"{v:.6f}" for v in values)])
    return text.getvalue()


def summarize_scores(scores: list[Score], model: str, source: Path, seconds: float) -> dict:
    """Statistics of each metric and structure, of the mean over structures, and over groups.

    structures, mean: Dice over cases. heads: Dice over groups, where some group has several cases.
    metrics, group_metrics: metric -> structure -> statistics over cases and over groups. means,
    group_means: metric -> statistics of the mean over structures, over cases and over groups.
    definitions: what each metric is. charged: structure -> how many cases count as missed.
    Intervals are always drawn over groups. Statistics: see `metrics.summarize`.
    """
    keys, groups = structures_of(scores), [s.group for s in scores]
    means = {
        metric: [_mean([s.values.get(f"{metric}_{key}", math.nan) for key in keys]) for s in scores]
        for metric in METRICS
    }
    means |= {
        name: [s.values.get(name, math.nan) for s in scores]
        for name in CASE_METRICS
        if any(name in s.values for s in scores)
    }
    columns = {
        metric: {key: [s.values.get(f"{metric}_{key}", math.nan) for s in scores] for key in keys}
        for metric in METRICS
    }
    of_groups = lambda values: summarize(list(group_means(values, groups).values()))
    metrics = {
        metric: {key: summarize(values, groups) for key, values in each.items()}
        for metric, each in columns.items()
    }
    by_group = {name: of_groups(values) for name, values in means.items()}
    overall = {name: summarize(values, groups) for name, values in means.items()}
    summary = {
        "model": model,
        "data": str(source),
        "cases": len(scores),
        "groups": len(set(groups)),
        "rule": f"{RULE}; {FAILED_RULE}",
        "failed": {s.case: s.error for s in scores if s.error},
        "charged": {key: count for key in keys if (count := sum(key in s.charged for s in scores))},
        "structures": metrics["dice"],
        "mean": overall["dice"],
        "seconds": round(seconds, 1),
        "metrics": metrics,
        "means": overall,
        "group_means": by_group,
        "group_metrics": {
            metric: {key: of_groups(values) for key, values in each.items()}
            for metric, each in columns.items()
        },
        "definitions": (
            {name: about.meaning for name, about in METRICS.items()} | {"surfaces": SURFACES}
        ),
        "group_of": {s.case: s.group for s in scores},
    }
    if len(set(groups)) < len(groups):
        summary["heads"] = by_group["dice"]
    return summary


def _mean(values: list[float]) -> float:
    there = [v for v in values if not math.isnan(v)]
    return sum(there) / len(there) if there else math.nan


def summary_table(summary: dict) -> str:
    """The summary for the screen."""
    rows = [f"{'':<34}{'n':>5}     mean       sd   median   95 % interval of the mean"]
    for metric, about in METRICS.items():
        rows.append(about.title)
        rows += [_line(f"  {key}", s) for key, s in summary["metrics"][metric].items()]
        if len(summary["metrics"][metric]) > 1:
            rows.append(_line("  mean of structures", summary["means"][metric]))
        if "heads" in summary:
            rows.append(_line("  the same, by head or patient", summary["group_means"][metric]))
    rows += [
        _line(about.title, summary["means"][name], digits=4)
        for name, about in CASE_METRICS.items()
        if name in summary["means"]
    ]
    if "calibration" in summary:
        rows.append(
            f"Calibration error of all cases' voxels together: {summary['calibration']['ece']:.4f}"
        )
    rows.append(
        f"{summary['cases']} cases of {summary['groups']} heads or patients, over which the"
        " intervals are drawn"
    )
    rows += [f"Surfaces: {SURFACES}.", f"Rule: {summary['rule']}."]
    if summary["charged"]:
        charged = ", ".join(f"{key} in {n}" for key, n in summary["charged"].items())
        rows.append(
            f"Counted as missed, because only one label map has it: {charged} of {summary['cases']}"
            " cases"
        )
    rows += [f"failed, counted as 0: {case}: {why}" for case, why in summary["failed"].items()]
    return "\n".join(rows)


def _line(name: str, s: dict, digits: int = 3) -> str:
    low_high = (
        f"{s['low']:.{digits}f} to {s['high']:.{digits}f}" if math.isfinite(s["low"]) else "-"
    )
    numbers = "".join(
        f"{s[k]:>9.{digits}f}" if math.isfinite(s[k]) else f"{'-':>9}"
        for k in ("mean", "sd", "median")
    )
    return f"{name:<34}{s['n']:>5}{numbers}   {low_high}"


def as_json(summary: dict) -> str:
    """JSON text with null for what is not a number."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(summary), indent=1, ensure_ascii=False) + "\n"


def summary_path(csv_path: Path) -> Path:
    """Where the summary of a table lies."""
    return csv_path.with_name(f"{csv_path.stem}.summary.json")


def read_table(path: Path) -> dict[str, dict[str, float]]:
    """case -> column -> value (NaN where blank) of a CSV that `table` wrote; `UserError` for
    anything else.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise UserError(f'The table "{path}" could not be read; check the path.') from error
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(
            f'"{path}" is no table of scores; give a CSV that `medllmseg evaluate` wrote.'
        ) from error
    if header[0] != "case" or len(header) < 2 or not rows:
        raise UserError(
            f'"{path}" is no table of scores (its first column must be "case", with a row for each'
            " case); give a CSV that `medllmseg evaluate` wrote."
        )
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if len(row) != len(header) or row[0] in found:
            why = (
                "is there twice"
                if row[0] in found
                else f"has {len(row)} values instead of {len(header)}"
            )
            raise UserError(
                f'The case "{row[0]}" of "{path}" {why}; write the table again with `medllmseg'
                " evaluate`."
            )
        found[row[0]] = {
            column: _number(text, column, row[0], path) for column, text in zip(header[1:], row[1:])
        }
    return found


def _number(text: str, column: str, case: str, path: Path) -> float:
    try:
        return float(text) if text.strip() else math.nan
    except ValueError as error:
        raise UserError(
            f'The case "{case}" of "{path}" has "{text}" as {column}, and a number is needed; '
            "correct the table."
        ) from error


def read_groups(path: Path, cases) -> dict[str, str]:
    """case -> head or patient, as the summary beside a table says, else as the cases' names
    tell.
    """
    groups = {case: group_of(case) for case in cases}
    try:
        stated = json.loads(summary_path(path).read_text(encoding="utf-8"))["group_of"]
        return groups | {case: str(group) for case, group in stated.items() if case in groups}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ):  # no summary, or one of an older version: the names must do
        return groups
