"""What Wilcoxon's test, which the benchmark's page used before, decides otherwise."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from MedLLMSegLib.studies.benchmark import earlier_test as unit
from MedLLMSegLib.studies.benchmark.verdict import ArmKey, family
from Testing.studies.test_benchmark_page import CASES, results_of

F, A = ArmKey("ours", "F", 100), ArmKey("ours", "A", 100)


def two_arms(folder, differences):
    """One seed of F and A, which differ by (16,) for the heads, of two cases each."""
    results = results_of(folder, {"F": 0.0, "A": 0.0}, seeds=(0,))
    runs = {name: results.runs[name] for name in ("ours-F-100-0", "ours-A-100-0")}
    for n, case in enumerate(CASES):
        for name, more in zip(runs, (differences[n // 2], 0.0), strict=True):
            runs[name]["test"]["clean"][case]["dice"] = [0.8 + n / 1000 + more] * 2
    results.add(runs)
    return results


def test_a_comparison_that_the_change_of_test_decides_is_named(tmp_path):
    """Fifteen small gains and one loss that nearly outweighs them: the ranks show a gain, the mean
    does not.
    """
    differences = np.append(np.linspace(0.0009, 0.0011, 15), -0.012)
    results = two_arms(tmp_path, differences)
    tests = family(results, [(F, A)])
    (text,) = unit.changed_sides(results, tests)
    p, now = wilcoxon(differences).pvalue, tests[F, A].p_holm
    assert p < 0.05 < now
    assert f"one comparison of this table otherwise: F - A, had p = {p:.3f} (F better)" in text
    assert f"and has p = {now:.3f} (no difference shown)." in text


@pytest.mark.parametrize(
    "differences",
    [
        np.linspace(0.001, 0.002, 16),  # both tests show a gain
        np.tile((0.001, -0.001), 8),  # neither
        np.append(np.full(15, 0.001), -0.1),  # ranks and mean disagree: nothing was claimed before
        np.zeros(16),
    ],
)
def test_nothing_is_said_where_both_tests_agree(tmp_path, differences):
    results = two_arms(tmp_path, differences)
    assert unit.changed_sides(results, family(results, [(F, A)])) == []
