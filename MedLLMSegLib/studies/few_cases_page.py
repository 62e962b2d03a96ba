"""The table of the few-cases study in docs/train.md; "not run" for what is not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.paired_tests import Comparison, Table, paired_tests
from MedLLMSegLib.reporting.markdown import p_value, table
from MedLLMSegLib.training.segmenter.planning.loop_settings import FINE_TUNING_LR
from MedLLMSegLib.training.segmenter.request import TrainRequest
from MedLLMSegLib.training.segmenter.train_config import TrainConfig

from .few_cases_plan import VALIDATIONS, WAYS, FewCasesPlan, Way
from .study.page import NOT_RUN, difference_text

BEGIN = "<!-- few-cases: filled by python -m MedLLMSegLib.studies.few_cases -->"
END = "<!-- few-cases: end -->"
HEAD = (
    "training cases",
    "from nothing",
    "fine-tuned",
    "gain (95 % over patients; ± excluded)",
    "p (Holm)",
)


def gains(plan: FewCasesPlan, results: Mapping[str, Json]) -> dict[int, Comparison]:
    """Fine-tuned against from nothing, for each count of which all seeds were run.

    Tests are over patients, with Holm's correction over the counts. results: run's name -> result.
    """
    arms: dict[str, Sequence[Table]] = {}
    groups: dict[str, str] = {}
    pairs: dict[int, tuple[str, str]] = {}
    for count in plan.counts:
        names = {way: [run.name for run in plan.runs_of(way, count)] for way in WAYS}
        if not all(name in results for way in WAYS for name in names[way]):
            continue
        for way in WAYS:
            of_way = [results[name] for name in names[way]]
            arms[f"{way} {count}"] = [_with_nan(result["table"]) for result in of_way]
            for result in of_way:
                groups |= result["group_of"]
        pairs[count] = (f"{WAYS[0]} {count}", f"{WAYS[1]} {count}")
    if not arms:
        return {}
    tests = paired_tests(arms, groups, pairs=list(pairs.values()))
    return dict(zip(pairs, tests, strict=True))


def _with_nan(stored: Mapping[str, Mapping[str, float | None]]) -> Table:
    """A table as it is stored in JSON, with NaN where a value is missing."""
    return {
        case: {name: math.nan if value is None else value for name, value in row.items()}
        for case, row in stored.items()
    }


def page(plan: FewCasesPlan, results: Mapping[str, Json], command: str) -> str:
    """The table and what to know about it, as Markdown.

    It shows the mean Dice over patients on the test cases, of each seed and over them, and the
    gain. results: run's name -> result.
    """
    tests = gains(plan, results)
    rows = []
    for count in plan.counts:
        dice = {way: _dice(plan, results, way, count) for way in WAYS}
        rows.append(
            [str(count), _cell(dice["new"]), _cell(dice["tuned"]), *_gain(tests.get(count))]
        )
    seeds = "one seed, so that other draws of the cases may give other figures:"
    if len(plan.seeds) > 1:
        seeds = f"mean of {len(plan.seeds)} seeds (each seed's figure in brackets):"
    introduction = (
        f"Mean Dice on {_tested(results)} of `{Path(plan.data).name}`, `{plan.start}` fine-tuned"
        f" against training from nothing (`{plan.preset}`), {plan.steps} steps each on the same"
        f" cases, {seeds}"
    )
    method = (
        f"{_rate(plan)} {_chosen(results)}Intervals: bootstrap over patients; p: paired"
        " permutation over patients, Holm's correction over the rows."
    )
    printed = f"Printed by `{command}`."
    return "\n\n".join([introduction, table(HEAD, rows), method, printed])


def _dice(plan: FewCasesPlan, results: Mapping[str, Json], way: Way, count: int) -> list[float]:
    """The mean Dice of each finished seed."""
    names = [run.name for run in plan.runs_of(way, count)]
    return [results[name]["dice"]["mean"] for name in names if name in results]


def _cell(values: list[float]) -> str:
    if not values:
        return NOT_RUN
    mean = f"{sum(values) / len(values):.3f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({', '.join(f'{value:.3f}' for value in values)})"


def _gain(test: Comparison | None) -> list[str]:
    """The gain with its interval, and the p value."""
    if test is None:
        return [NOT_RUN] * 2
    return [
        difference_text(test.difference, test.low, test.high, 3),
        p_value(test.p_holm, error=test.p_holm_error),
    ]


def _rate(plan: FewCasesPlan) -> str:
    if plan.lr:
        return f"Both ways with the learning rate {plan.lr:g}."
    return (
        f"Each way with its usual learning rate ({FINE_TUNING_LR[TrainRequest.optimiser]:g}"
        f" fine-tuned, {TrainConfig().lr:g} from nothing)."
    )


def _tested(results: Mapping[str, Json]) -> str:
    groups = {result["groups"] for result in results.values()}
    return f"{groups.pop()} test patients" if groups else "the test cases"


def _chosen(results: Mapping[str, Json]) -> str:
    """What a user with so few cases would not have: labelled val cases."""
    counts = {result.get("chosen_on") for result in results.values()} - {None}
    if not counts:
        return ""
    return (
        f"The best weights were chosen in {VALIDATIONS} validations on {counts.pop()} labelled val"
        " cases besides, more than someone with so few cases has. "
    )


def fill(path: Path, text: str) -> None:
    """Put the table between its marks in a page."""
    before, after = around_table(path)
    write_text(path, f"{before}{BEGIN}\n{text}\n{END}{after}")


def around_table(path: Path) -> tuple[str, str]:
    """The text before and after the table; `UserError` where the page has no place for it."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if BEGIN not in text or END not in text:
        raise UserError(
            f'"{path}" has no place for the table; it needs the lines {BEGIN} and {END}.'
        )
    before, rest = text.split(BEGIN, 1)
    return before, rest.split(END, 1)[1]
