"""Arms given as the tables that `medllmseg evaluate` wrote: read, compared, printed and written."""

from __future__ import annotations

import csv
import glob
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.metrics.overlap import METRICS, metric_of
from MedLLMSegLib.metrics.paired_tests import (
    SIGNIFICANT,
    Comparison,
    Table,
    arm_values,
    full_name,
    paired_tests,
)
from MedLLMSegLib.metrics.sign_flips import EXACT_UNITS

from .scores import read_groups, read_table, summary_path


@dataclass(frozen=True)
class _Arms:
    """Arms as read from their tables.

    tables: name -> one table for each seed. groups: case -> head or patient. ungrouped: a table
    without a summary, in which each case counts as a patient of its own; None if there is none.
    """

    tables: dict[str, list[Table]]
    groups: dict[str, str]
    ungrouped: Path | None


def compare_files(
    arms: Sequence[str], metrics: Sequence[str] = ("dice",), output: PathLike | None = None
) -> list[Comparison]:
    """Paired tests between arms, each with each, with Holm's correction over all of them.

    arms: at least two, each "NAME=FILES" or "FILES", where FILES are the CSV tables of the arm's
    seeds: one path, several separated by commas, or a pattern with *. Without a name, an arm is
    called like its first file. output: a CSV to write the tests to; where matplotlib is installed,
    a box plot comes beside it. The patient of a case is taken from the summary beside its table,
    else from the case's name; where neither says, a note says so. See `paired_tests`. Raises
    `UserError`.
    """
    if output is not None:
        check_writable(Path(output).parent)
    read = _read_arms(parse_arms(arms))
    tests = paired_tests(read.tables, read.groups, metrics)
    if read.ungrouped:  # several scans of one patient would make the tests too certain
        note = (
            "each case counted as a patient of its own, as no summary lies beside"
            f' "{read.ungrouped}"'
        )
        tests = [replace(test, note="; ".join(filter(None, [test.note, note]))) for test in tests]
    if output is not None:
        write_text(output, _csv_table(tests))
        if find_spec("matplotlib"):
            _plot(read, metrics, Path(output).with_suffix(".png"))
    return tests


def _read_arms(arms: Mapping[str, Sequence[Path]]) -> _Arms:
    tables: dict[str, list[Table]] = {}
    groups: dict[str, str] = {}
    ungrouped = None
    for name, paths in arms.items():
        tables[name] = [read_table(path) for path in paths]
        for path, table in zip(paths, tables[name], strict=True):
            table_groups = read_groups(path, table)
            _merge(groups, table_groups, path)
            if not summary_path(path).exists() and _all_alone(table_groups):
                ungrouped = path
    return _Arms(tables, groups, ungrouped)


def _all_alone(groups: Mapping[str, str]) -> bool:
    return len(set(groups.values())) == len(groups)


def parse_arms(arms: Sequence[str]) -> dict[str, list[Path]]:
    """Name of each arm -> its tables.

    Raises `UserError` for missing files, and for fewer than two arms.
    """
    if len(arms) < 2:
        raise UserError(
            f"{len(arms)} arm is given, and at least two are needed; name the tables of another"
            " one."
        )
    parsed = [_parse(text) for text in arms]
    stems = [paths[0].stem for _, paths in parsed]
    tables_of: dict[str, list[Path]] = {}
    seen: set[Path] = set()
    for (stated_name, paths), stem in zip(parsed, stems, strict=True):
        # run1/test.csv and run2/test.csv have the same stem: their paths tell them apart.
        name = stated_name or (stem if stems.count(stem) == 1 else str(paths[0]))
        for path in paths:
            if path.resolve() in seen:
                raise UserError(
                    f'"{path}" is given twice; give each arm and seed a table of its own.'
                )
            seen.add(path.resolve())
        if name in tables_of:
            raise UserError(
                f'Two arms are called "{name}"; give each a name of its own, as in with=A.csv'
                " without=B.csv."
            )
        tables_of[name] = paths
    return tables_of


def _parse(text: str) -> tuple[str, list[Path]]:
    """The name before "=" ("" without one), and the files."""
    name, sign, files = text.partition("=")
    if not sign or "/" in name or Path(text).expanduser().exists():
        name, files = "", text
    patterns = [files] if Path(files).expanduser().exists() else files.split(",")
    return name, [path for pattern in patterns for path in _matching(pattern.strip())]


def _matching(pattern: str) -> list[Path]:
    """The file of that name, or the files that the pattern matches; `UserError` without any."""
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path))) if Path(match).is_file()]
    if not matches:
        raise UserError(
            f'There is no table "{pattern}"; give a CSV that `medllmseg evaluate` wrote,'
            " several separated by commas, or a pattern such as 'run*.csv'."
        )
    return matches


def _merge(groups: dict[str, str], more: Mapping[str, str], path: Path) -> None:
    """Add the groups of another table; `UserError` where the two disagree."""
    for case, group in more.items():
        if groups.setdefault(case, group) != group:
            raise UserError(
                f'The case "{case}" belongs to "{group}" by the summary of "{path}" and to'
                f' "{groups[case]}" by that of another table; measure all arms on the same data.'
            )


def comparison_table(tests: Sequence[Comparison]) -> str:
    """The tests for the screen."""
    names = [f"{test.first} - {test.second}" for test in tests]
    name_width = max(12, *(len(name) for name in names)) + 2
    metric_width = max(8, *(len(test.metric) for test in tests)) + 2
    rows = [
        f"{'metric':<{metric_width}}{'arms':<{name_width}}{'n':>4}{'first':>9}{'second':>9}"
        f"{'difference':>12}   {'95 % interval':<20}{'p':>9}{'Holm p':>9}   outcome"
    ]
    for test, name in zip(tests, names, strict=True):
        interval = f"{test.low:+.4f} to {test.high:+.4f}" if math.isfinite(test.low) else "-"
        rows.append(
            f"{test.metric:<{metric_width}}{name:<{name_width}}{test.n:>4}"
            f"{test.mean_first:>9.4f}{test.mean_second:>9.4f}{test.difference:>+12.4f}   "
            f"{interval:<20}{_p_text(test.p):>9}{_p_text(test.p_holm):>9}   "
            + "; ".join(filter(None, [_outcome(test), test.note]))
        )
    rows.append(
        "n is the number of heads or patients: seeds and the cases of one are averaged first."
        f" Paired two-sided permutation tests of the mean; Holm's correction over {len(tests)}"
        f" test{'s' * (len(tests) != 1)}."
    )
    if error := max(test.p_holm_error for test in tests):
        rows.append(
            f"Of more than {EXACT_UNITS} pairs, p is drawn: the Monte-Carlo standard error of"
            f" Holm's p is at most {error:.1g}."
        )
    rows.append(
        "difference: mean of first minus second; its interval is a bootstrap over heads or"
        " patients, and says nothing of other seeds."
    )
    return "\n".join(rows)


def _outcome(test: Comparison) -> str:
    """What the test shows; "" where only its note says why it shows nothing."""
    if test.better:
        return f"{test.better} is better"
    if test.p_holm >= SIGNIFICANT and test.differing:
        return "no difference shown"
    return ""


def _p_text(p: float) -> str:
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


def _csv_table(tests: Sequence[Comparison]) -> str:
    text = io.StringIO()
    columns = [field.name for field in fields(Comparison)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for test in tests:
        writer.writerow({column: _cell(value) for column, value in asdict(test).items()})
    return text.getvalue()


def _cell(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _plot(arms: _Arms, metrics: Sequence[str], path: Path) -> None:
    """One panel a metric, one box an arm; each dot is a head or patient.

    Only the cases that all arms have are shown.
    """
    from .box_plot import Panel, plot_boxes

    panels = []
    for metric in map(full_name, metrics):
        values = arm_values(arms.tables, arms.groups, metric)
        panels.append(Panel(_panel_title(metric), metric_of(metric), values))
    plot_boxes(panels, "Arms on the cases that all of them have; seeds averaged", path)


def _panel_title(metric: str) -> str:
    """The title of a metric, or of its column for one structure; other columns as they are."""
    known = metric_of(metric)
    if known is None:
        return metric
    name = next((name for name in METRICS if metric.startswith(f"{name}_")), None)
    return f"{known.title}: {metric[len(name) + 1 :]}" if name else known.title
