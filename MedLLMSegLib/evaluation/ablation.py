"""What parts of a network give its answers: the Dice without them, beside the Dice of the whole."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.group_statistics import group_means, summarize
from MedLLMSegLib.metrics.paired_tests import Table, paired_tests

from .scores import Score

# The parts that can be silenced (`networks.ablation.ABLATIONS`), and what the model then is.
PARTS = {
    "no_tokens": "tokens set to zero",
    "no_language_model": "language model bypassed",
}
WHOLE = "whole"
_WHOLE_TITLE = "the model as it is"


@dataclass(frozen=True)
class Ablated:
    """The scores of all cases with a part of the network silenced. part: a key of `PARTS`."""

    part: str
    scores: tuple[Score, ...]


def parts_to_silence(model: str, why_not: Callable[[str], str]) -> tuple[str, ...]:
    """The parts that a model has. why_not: part -> why it cannot be silenced, "" where it can.

    Raises `UserError` for a model that has none of them.
    """
    reasons = {part: why_not(part) for part in PARTS}
    if all(reasons.values()):
        raise UserError(
            f'Nothing of the model "{model}" can be left out: {"; ".join(reasons.values())}. Leave'
            " --ablate out."
        )
    return tuple(part for part, reason in reasons.items() if not reason)


def ablation_summary(
    whole: Sequence[Score], arms: Sequence[Ablated], why_not: Callable[[str], str]
) -> Json:
    """Statistics of the mean Dice over heads or patients, and what each part changes.

    whole: statistics (`metrics.group_statistics.summarize`) of the whole network. parts: part ->
    the same without it, with "change": the paired difference (without it minus whole), its
    bootstrap interval over heads or patients, and the p of a permutation test after Holm's
    correction. left_out: part -> why it could not be silenced.
    """
    groups = {score.case: score.group for score in whole}
    tables = {WHOLE: [_table(whole)], **{arm.part: [_table(arm.scores)] for arm in arms}}
    tests = paired_tests(tables, groups, pairs=[(arm.part, WHOLE) for arm in arms])
    return {
        "whole": _statistics(whole),
        "parts": {
            test.first: _statistics(arm.scores)
            | {
                "change": {
                    "mean": test.difference,
                    "low": test.low,
                    "high": test.high,
                    "p": test.p_holm,
                }
            }
            for arm, test in zip(arms, tests, strict=True)
        },
        "left_out": {part: reason for part in PARTS if (reason := why_not(part))},
    }


def ablation_lines(ablation: Json) -> list[str]:
    """The summary for the screen. ablation: of `ablation_summary`."""
    lines = [
        f"{'Mean Dice without parts of the network':<40}{'n':>4}     mean   95 % interval       "
        "change   95 % interval          p",
        f"  {_WHOLE_TITLE:<38}{_mean_text(ablation['whole'])}",
    ]
    for part, statistics in ablation["parts"].items():
        change = statistics["change"]
        lines.append(
            f"  {PARTS[part]:<38}{_mean_text(statistics)}  {change['mean']:+.4f}   "
            f"{_interval(change, '+.4f'):<19}  {_p_text(change['p'])}"
        )
    lines += [f"  {PARTS[part]}: not done, as {why}" for part, why in ablation["left_out"].items()]
    lines.append(
        "  change: without the part minus whole, paired over heads or patients; permutation tests"
        " with Holm's correction"
    )
    return lines


def ablation_path(csv_path: Path) -> Path:
    """Where the table of ablations lies, beside an evaluation's table."""
    return csv_path.with_name(f"{csv_path.stem}.ablation.csv")


def ablation_table(whole: Sequence[Score], arms: Sequence[Ablated]) -> str:
    """CSV with one row a case: case, group (head or patient), and the mean Dice over its structures
    of the whole network and without each part. Blank where no structure counts.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "group", f"dice_{WHOLE}", *(f"dice_{arm.part}" for arm in arms)])
    for row in zip(whole, *(arm.scores for arm in arms), strict=True):
        dice = [_mean_dice(score) for score in row]
        cells = ["" if math.isnan(value) else f"{value:.6f}" for value in dice]
        writer.writerow([row[0].case, row[0].group, *cells])
    return text.getvalue()


def _table(scores: Sequence[Score]) -> Table:
    """The scores' Dice, as `paired_tests` takes them."""
    return {score.case: _dice(score) for score in scores}


def _dice(score: Score) -> dict[str, float]:
    return {name: value for name, value in score.values.items() if name.startswith("dice_")}


def _mean_dice(score: Score) -> float:
    present = [value for value in _dice(score).values() if not math.isnan(value)]
    return sum(present) / len(present) if present else math.nan


def _statistics(scores: Sequence[Score]) -> dict[str, float]:
    """Of the mean over heads or patients, of whose cases the mean is taken first."""
    groups = [score.group for score in scores]
    return summarize(list(group_means([_mean_dice(s) for s in scores], groups).values()))


def _mean_text(statistics: Json) -> str:
    return f"{statistics['n']:>4}   {statistics['mean']:.4f}   {_interval(statistics, '.4f'):<16}"


def _interval(statistics: Json, form: str) -> str:
    low, high = statistics["low"], statistics["high"]
    return f"{low:{form}} to {high:{form}}" if math.isfinite(low) else "-"


def _p_text(p: float) -> str:
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"
