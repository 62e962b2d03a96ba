"""Which comparisons of docs/benchmark.md come out otherwise with the test that the page used until
version 0.3, so that a reader who knows the older page sees what the change of test decided.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from MedLLMSegLib.core.types import Array
from MedLLMSegLib.metrics.multiple_tests import holm
from MedLLMSegLib.metrics.paired_tests import SIGNIFICANT, Comparison, arm_values
from MedLLMSegLib.metrics.sign_flips import ROUND_OFF
from MedLLMSegLib.reporting.markdown import p_value

from .benchmark_results import BenchmarkResults
from .verdict import ArmKey, tables_of_shared_seeds

Pair = tuple[ArmKey, ArmKey]


def changed_sides(results: BenchmarkResults, family: Mapping[Pair, Comparison]) -> list[str]:
    """A paragraph that names the comparisons of a family that Wilcoxon's signed-rank test decides
    otherwise; none where there are none.

    family: the tests that share one correction, as `verdict.family` gives them.
    """
    earlier = _earlier_conclusions(results, list(family))
    changed = [
        f"{_name(pair)}, had {p_value(p, 'p')} ({_said(better)}) and has"
        f" {p_value(family[pair].p_holm, 'p', family[pair].p_holm_error)}"
        f" ({_said(family[pair].better)})"
        for pair, (p, better) in earlier.items()
        if better != family[pair].better
    ]
    if not changed:
        return []
    count = "one comparison" if len(changed) == 1 else f"{len(changed)} comparisons"
    return [
        "The permutation test, which took the place of Wilcoxon's signed-rank test after version"
        f" 0.3, decides {count} of this table otherwise: {'; '.join(changed)}."
    ]


def _name(pair: Pair) -> str:
    first, second = pair
    condition = "" if first.condition == "clean" else f"{first.condition}, "
    return f"{condition}{first.arm} - {second.arm}"


def _said(better: str) -> str:
    return f"{better} better" if better else "no difference shown"


def _earlier_conclusions(
    results: BenchmarkResults, pairs: list[Pair]
) -> dict[Pair, tuple[float, str]]:
    """Pair -> Holm's p and the better arm, "" where no difference is shown: as version 0.3."""
    found = [_signed_rank(_differences(results, pair)) for pair in pairs]
    adjusted = holm([p for p, _ in found])
    conclusions = {}
    for pair, (_, sign), each in zip(pairs, found, adjusted, strict=True):
        better = pair[0].arm if sign > 0 else pair[1].arm
        conclusions[pair] = (each.p, better if each.p < SIGNIFICANT and sign else "")
    return conclusions


def _differences(results: BenchmarkResults, pair: Pair) -> Array:
    """(heads,) mean Dice of the first arm minus the second."""
    first, second = tables_of_shared_seeds(results, pair)
    values = arm_values({"first": first, "second": second}, results.groups)
    return values["first"] - values["second"]


def _signed_rank(differences: Array) -> tuple[float, float]:
    """Two-sided p of Wilcoxon's test, and the sign of the rank sum; 0 where mean and ranks point
    to different sides, as the older page then claimed nothing. Source: Wilcoxon 1945 (equal pairs
    are left out).
    """
    from scipy.stats import rankdata, wilcoxon

    # Equal differences must tie in spite of round-off.
    rounded = np.round(differences / ROUND_OFF) * ROUND_OFF
    rounded = rounded[rounded != 0]
    if not len(rounded):
        return 1.0, 0.0
    ranks = float(np.sign((np.sign(rounded) * rankdata(np.abs(rounded))).sum()))
    agree = ranks * differences.mean() >= 0
    return float(wilcoxon(rounded).pvalue), ranks if agree else 0.0
