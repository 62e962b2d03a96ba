"""Arms given as the tables that `medllmseg evaluate` wrote: read, compared, printed and written."""

from __future__ import annotations

import csv
import glob
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from importlib.util import find_spec
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.metrics.overlap import METRICS, metric_of
from MedLLMSegLib.metrics.paired_tests import (
    SIGNIFICANT,
    Comparison,
    Table,
    arm_values,
    full_name,
    paired_tests,
)

from .scores import read_groups, read_table, summary_path


def compare_files(
    arms: Sequence[str], metrics: Sequence[str] = ("dice",), output=None
) -> list[Comparison]:
    """Paired tests between arms, each with each, with Holm's correction over all of them (see
    `compare.paired_tests`).

    arms: at least two, each "NAME=FILES" or "FILES", where FILES are the CSV tables of the arm's
    seeds: one path, several parted by commas, or a pattern with *. Without a name an arm is called
    like its first file. output: a CSV to write the tests to; where matplotlib is installed a box
    plot comes beside it. Whose a case is, the summary beside its table says, else the case's name;
    where neither knows, a note says so. Raises `UserError`.
    """
    if output is not None:
        check_writable(Path(output).parent)
    found, groups, alone = {}, {}, None
    for name, paths in parse_arms(arms).items():
        found[name] = [read_table(path) for path in paths]
        for path, table in zip(paths, found[name]):
            own = read_groups(path, table)
            _merge(groups, own, path)
            if not summary_path(path).exists() and len(set(own.values())) == len(own):
                alone = path
    tests = paired_tests(found, groups, metrics)
    if alone:  # several scans of one patient would make the tests surer than they are
        note = f'each case counted as a patient of its own, as no summary lies beside "{alone}"'
        tests = [replace(test, note="; ".join(filter(None, [test.note, note]))) for test in tests]
    if output is not None:
        write_text(output, _table(tests))
        if find_spec("matplotlib"):
            _plot(found, groups, metrics, Path(output).with_suffix(".png"))
    return tests


def parse_arms(arms: Sequence[str]) -> dict[str, list[Path]]:
    """Name of each arm -> its tables; `UserError` for files that are not there, and for fewer
    than two arms.
    """
    if len(arms) < 2:
        raise UserError(
            f"{len(arms)} arm is given, and at least two are needed; name the tables of another"
            " one."
        )
    parsed = [_parse(text) for text in arms]
    stems = [paths[0].stem for _, paths in parsed]
    found: dict[str, list[Path]] = {}
    seen: set[Path] = set()
    for (name, paths), stem in zip(parsed, stems):
        name = name or (
            stem if stems.count(stem) == 1 else str(paths[0])
        )  # run1/test.csv and run2/test.csv
        for path in paths:
            if path.resolve() in seen:
                raise UserError(
                    f'"{path}" is given twice; give each arm and seed a table of its own.'
                )
            seen.add(path.resolve())
        if name in found:
            raise UserError(
                f'Two arms are called "{name}"; give each a name of its own, as in with=A.csv'
                " without=B.csv."
            )
        found[name] = paths
    return found


def _parse(text: str) -> tuple[str, list[Path]]:
    """The name before "=" ("" without one), and the files."""
    name, sign, rest = text.partition("=")
    if not sign or "/" in name or Path(text).expanduser().exists():
        name, rest = "", text
    paths = []
    for part in [rest] if Path(rest).expanduser().exists() else rest.split(","):
        path = Path(part.strip()).expanduser()
        matches = (
            [path]
            if path.is_file()
            else [Path(p) for p in sorted(glob.glob(str(path))) if Path(p).is_file()]
        )
        if not matches:
            raise UserError(
                f'There is no table "{part.strip()}"; give a CSV that `medllmseg evaluate` wrote,'
                " several parted by commas, or a pattern such as 'run*.csv'."
            )
        paths += matches
    return name, paths


def _merge(groups: dict[str, str], more: dict[str, str], path: Path) -> None:
    for case, group in more.items():
        if groups.setdefault(case, group) != group:
            raise UserError(
                f'The case "{case}" belongs to "{group}" by the summary of "{path}" and to'
                f' "{groups[case]}" by that of another table; measure all arms on the same data.'
            )


def comparison_table(tests: Sequence[Comparison]) -> str:
    """The tests for the screen."""
    names = [f"{c.first} - {c.second}" for c in tests]
    wide, long = max(12, *(len(n) for n in names)) + 2, max(8, *(len(c.metric) for c in tests)) + 2
    rows = [
        f"{'metric':<{long}}{'arms':<{wide}}{'n':>4}{'first':>9}{'second':>9}{'difference':>12}   "
        f"{'95 % interval':<20}{'p':>9}{'Holm p':>9}   outcome"
    ]
    for c, name in zip(tests, names):
        interval = f"{c.low:+.4f} to {c.high:+.4f}" if math.isfinite(c.low) else "-"
        outcome = (
            f"{c.better} is better"
            if c.better
            else "no difference shown"
            if c.p_holm >= SIGNIFICANT and c.differing
            else ""
        )  # else the note says what is the matter
        rows.append(
            f"{c.metric:<{long}}{name:<{wide}}{c.n:>4}{c.mean_first:>9.4f}{c.mean_second:>9.4f}"
            f"{c.difference:>+12.4f}   {interval:<20}{_p(c.p):>9}{_p(c.p_holm):>9}   "
            + "; ".join(filter(None, [outcome, c.note]))
        )
    rows += [
        (
            "n is the number of heads or patients: seeds and the cases of one are averaged first."
            f" Paired two-sided Wilcoxon signed-rank tests; Holm's correction over {len(tests)}"
            f" test{'s' * (len(tests) != 1)}."
        ),
        (
            "difference: mean of first minus second; its interval is a bootstrap over heads or"
            " patients, and says nothing of other seeds."
        ),
    ]
    return "\n".join(rows)


def _p(value: float) -> str:
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _table(tests: Sequence[Comparison]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Comparison)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(c).items()}
        for c in tests
    )
    return text.getvalue()


def _plot(
    arms: dict[str, list[Table]], groups: dict[str, str], metrics: Sequence[str], path: Path
) -> None:
    """One panel a metric, one box an arm; each dot is a head or patient, on the cases that all
    arms have.
    """
    from .box_plot import plot_boxes

    panels = {}
    for metric in map(full_name, metrics):
        about = metric_of(metric)
        name = next(
            (n for n in METRICS if metric.startswith(f"{n}_")), None
        )  # one structure's column
        title = (
            metric
            if about is None
            else f"{about.title}: {metric[len(name) + 1 :]}"
            if name
            else about.title
        )
        panels[title] = (about, arm_values(arms, groups, metric))
    plot_boxes(panels, "Arms on the cases that all of them have; seeds averaged", path)
