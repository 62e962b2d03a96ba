"""A classifier in the groups of a table: at one threshold, with counts, intervals, and how many
comparisons were made.

The figures of each group are fairlearn's MetricFrame's (Weerts et al. 2023). Their intervals are
drawn over patients, which MetricFrame's own are not.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.metrics.classification_intervals import Estimate, bootstrap_weights
from MedLLMSegLib.metrics.group_statistics import expanded_percentiles

LEVEL, REPEATS = 0.95, 20_000
FEWEST = 5  # cases of the kind that a rate is of; with fewer, no difference is tested


@dataclass(frozen=True)
class RateKind:
    """A rate over the cases of one kind. of: which truths count; None for all."""

    name: str
    of: bool | None

    def counted(self, truth: Array) -> NDArray[np.bool_]:
        """(n,): which cases the rate is over."""
        return np.ones(len(truth), bool) if self.of is None else np.asarray(truth == self.of)

    def hits(self, truth: Array, decision: Array) -> NDArray[np.bool_]:
        """(n,): which cases raise it."""
        right: NDArray[np.bool_] = truth == decision
        return decision.astype(bool) if self.name == "called positive" else right

    def __call__(self, truth: Any, decision: Any) -> float:
        """As MetricFrame calls it."""
        truth, decision = np.asarray(truth, bool), np.asarray(decision, bool)
        counted = self.counted(truth)
        return float(self.hits(truth, decision)[counted].mean()) if counted.any() else np.nan


RATES = (
    RateKind("sensitivity", True),
    RateKind("specificity", False),
    RateKind("accuracy", None),
    RateKind("called positive", None),
)


@dataclass(frozen=True)
class GroupRate:
    """One rate of one group, and how it differs from all other cases'.

    n: cases that the rate is over. patients: of these cases. difference: group minus all others,
    with the interval of all comparisons together (Bonferroni); NaN where too few cases are known.
    """

    attribute: str
    group: str
    rate: str
    n: int
    patients: int
    value: Estimate
    difference: Estimate

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        return bool(self.difference.low > 0 or self.difference.high < 0)


@dataclass(frozen=True)
class Audit:
    """rates: of each group. comparisons: how many differences were looked at. level: of each of
    their intervals, so that all of them hold together in 95 of 100 audits. gaps: attribute ->
    rate -> largest minus smallest group (MetricFrame's difference).
    """

    rates: tuple[GroupRate, ...]
    comparisons: int
    level: float
    gaps: Mapping[str, Mapping[str, float]]


def audit(
    truth: Array,
    decision: Array,
    patients: Sequence[str],
    attributes: Mapping[str, Sequence[str]],
    repeats: int = REPEATS,
) -> Audit:
    """Rates of every group of every attribute at one threshold.

    truth, decision: bool (n,). patients: (n,). attributes: name -> value of each case as text.
    Raises `UserError` without fairlearn.
    """
    truth, decision = np.asarray(truth, bool), np.asarray(decision, bool)
    owners = np.asarray(patients)
    weights = bootstrap_weights(patients, repeats)
    if weights is None:
        raise UserError("An audit needs cases of at least two patients; add some.")
    cells = [
        _Cell(name, group, np.asarray(values) == group, rate)
        for name, values in attributes.items()
        for group in sorted(set(values))
        for rate in RATES
    ]
    tested = sum(cell.is_tested(truth) for cell in cells)
    level = 1 - (1 - LEVEL) / max(1, tested)
    draws = _Draws(truth, decision, owners, weights, level)
    frames = {name: _metric_frame(truth, decision, values) for name, values in attributes.items()}
    rates = tuple(
        _group_rate(cell, frames[cell.attribute].by_group[cell.rate.name][cell.group], draws)
        for cell in cells
    )
    gaps = {
        name: {rate.name: float(frame.difference()[rate.name]) for rate in RATES}
        for name, frame in frames.items()
    }
    return Audit(rates, tested, level, gaps)


@dataclass(frozen=True, eq=False)
class _Cell:
    """One rate of one group. inside: (n,) of the cases in it."""

    attribute: str
    group: str
    inside: NDArray[np.bool_]
    rate: RateKind

    def is_tested(self, truth: Array) -> bool:
        """Whether both the group and all others have cases enough for a difference."""
        counted = self.rate.counted(truth)
        sizes = (counted & self.inside).sum(), (counted & ~self.inside).sum()
        return bool(min(sizes) >= FEWEST)


@dataclass(frozen=True, eq=False)
class _Draws:
    """What all rates are measured on. weights: (repeats, n), see `bootstrap_weights`. level: of a
    difference's interval.
    """

    truth: NDArray[np.bool_]
    decision: NDArray[np.bool_]
    owners: Array
    weights: Array
    level: float

    def rates(self, rate: RateKind, inside: Array) -> NDArray[np.float64]:
        """(repeats,): the rate in each draw of patients; NaN in a draw without such a case."""
        counted = rate.counted(self.truth) & inside
        hits = counted & rate.hits(self.truth, self.decision)
        total, right = (self.weights @ mask.astype(np.float32) for mask in (counted, hits))
        return np.divide(right, total, out=np.full(len(total), np.nan), where=total > 0)

    def interval(self, drawn: Array, level: float) -> tuple[float, float]:
        """NaN where a tenth of the draws have no such case, and where all agree."""
        finite = drawn[np.isfinite(drawn)]
        if len(finite) < 0.9 * len(drawn) or np.ptp(finite) <= 1e-9:
            return float("nan"), float("nan")
        return expanded_percentiles(finite, len(set(self.owners.tolist())), level)


def _group_rate(cell: _Cell, value: float, draws: _Draws) -> GroupRate:
    rate, inside = cell.rate, cell.inside
    counted = rate.counted(draws.truth) & inside
    drawn = draws.rates(rate, inside)
    difference = Estimate(np.nan)
    if cell.is_tested(draws.truth):
        others = rate(draws.truth[~inside], draws.decision[~inside])
        ends = draws.interval(drawn - draws.rates(rate, ~inside), draws.level)
        difference = Estimate(float(value) - others, *ends)
    return GroupRate(
        attribute=cell.attribute,
        group=cell.group,
        rate=rate.name,
        n=int(counted.sum()),
        patients=len(set(draws.owners[counted])),
        value=Estimate(float(value), *draws.interval(drawn, LEVEL)),
        difference=difference,
    )


def _metric_frame(truth: Array, decision: Array, values: Sequence[str]) -> Any:
    try:
        from fairlearn.metrics import MetricFrame
    except ImportError as error:
        raise UserError(
            "An audit needs the package fairlearn, which is not installed; run `pip install"
            ' "medllmseg[classify]"`.'
        ) from error
    metrics = {rate.name: rate for rate in RATES}
    return MetricFrame(
        metrics=metrics, y_true=truth, y_pred=decision, sensitive_features=list(values)
    )


def audit_csv(found: Audit) -> str:
    """One row a group and rate."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("value", "low", "high")
    head = ["attribute", "group", "rate", "n", "patients"]
    writer.writerow([*head, *ends, *(f"difference_{end}" for end in ends), "differs"])
    for row in found.rates:
        numbers = [*row.value.to_dict().values(), *row.difference.to_dict().values()]
        cells = ["" if number is None else f"{number:.4f}" for number in numbers]
        head_cells = [row.attribute, row.group, row.rate, row.n, row.patients]
        writer.writerow([*head_cells, *cells, int(row.differs)])
    return text.getvalue()


def audit_json(found: Audit) -> Json:
    """What holds for the whole audit."""
    return {
        "comparisons": found.comparisons,
        "level": round(found.level, 6),
        "differing": sum(row.differs for row in found.rates),
        "gaps": {
            name: {rate: None if np.isnan(gap) else round(gap, 4) for rate, gap in gaps.items()}
            for name, gaps in found.gaps.items()
        },
    }
