"""The form that the pages of all studies share: a table of arms, each beside the one that they are
compared with; "not run" stands for what is not.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from MedLLMSegLib.core.types import Array
from MedLLMSegLib.metrics.group_statistics import bootstrap_interval, excluded_margin
from MedLLMSegLib.reporting.markdown import margin, signed, table

NOT_RUN = "not run"
DRAWS = 10_000  # of a bootstrap whose ends are printed


@dataclass(frozen=True)
class TableForm:
    """What the columns of a table of arms are called. digits: of the score. further: figures beside
    the score. against: the difference from the arm that is compared; "" without comparisons.
    """

    score: str
    seeds: str
    digits: int
    further: tuple[str, ...] = ()
    against: str = ""

    @property
    def head(self) -> list[str]:
        compared = [self.against, "p (Holm)"] if self.against else []
        return ["arm", self.score, self.seeds, *self.further, *compared]


@dataclass(frozen=True)
class ArmRow:
    """One arm. score: with its interval, as text. seeds: each finished one's score; missing: how
    many are not run. further: texts. against: difference and p as texts; empty for the arm that the
    others are compared with, None where it is not known yet.
    """

    name: str
    score: str
    seeds: Sequence[float] = ()
    missing: int = 0
    further: Sequence[str] = ()
    against: Sequence[str] | None = field(default=("", ""))


def arms_table(form: TableForm, rows: Sequence[ArmRow]) -> str:
    """A row for each arm."""
    return table(form.head, [_cells(form, row) for row in rows])


def _cells(form: TableForm, row: ArmRow) -> list[str]:
    against = [NOT_RUN] * 2 if row.against is None else list(row.against)
    compared = against if form.against else []
    if not row.seeds:
        return [row.name, *[NOT_RUN] * (2 + len(form.further)), *compared]
    seeds = ", ".join(f"{value:.{form.digits}f}" for value in row.seeds)
    seeds += f" ({row.missing} {NOT_RUN})" if row.missing else ""
    return [row.name, row.score, seeds, *row.further, *compared]


def difference_text(value: float, low: float, high: float, digits: int) -> str:
    """A difference with its interval, and the smallest margin that the interval excludes."""
    if not (math.isfinite(low) and math.isfinite(high)):  # of a single group
        return f"{signed(value, digits)} (no interval)"
    interval = f"{signed(low, digits)} to {signed(high, digits)}"
    beyond = margin(excluded_margin(low, high), digits)
    return f"{signed(value, digits)} ({interval}; {beyond})"


def mean_text(
    values: Array,
    digits: int,
    groups: Sequence[Hashable] | None = None,
    has_sign: bool = False,
) -> str:
    """The mean of (n,) values and its `bootstrap_interval` over groups, "0.71 (0.62 to 0.80)"; of a
    single group the mean alone.
    """
    low, high = bootstrap_interval(values, groups, repeats=DRAWS)
    texts = [
        signed(v, digits) if has_sign else f"{v:.{digits}f}"
        for v in (float(values.mean()), low, high)
    ]
    return f"{texts[0]} ({texts[1]} to {texts[2]})" if math.isfinite(low) else texts[0]
