"""Paired comparisons on tables whose answers are known."""

import math

import numpy as np
import pytest
from scipy import stats

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.evaluation.comparison import comparison_table
from MedLLMSegLib.metrics.multiple_tests import holm
from MedLLMSegLib.metrics.paired_tests import arm_values, paired_tests
from Testing.helpers.score_tables import HEADS, score_table

NAN = math.nan


@pytest.fixture
def base():
    return np.random.default_rng(3).normal(0.87, 0.03, 40)


def test_the_unit_is_the_head(base):
    """Sides and structures are averaged before the test, so that it is SciPy's own on the heads'
    means.
    """
    rng = np.random.default_rng(0)
    first, second = (
        base[:, None] + rng.normal(0.01, 0.02, (40, 2)),
        base[:, None] + rng.normal(0, 0.02, (40, 2)),
    )
    (test,) = paired_tests({"a": [score_table(first)], "b": [score_table(second)]}, HEADS)
    heads = [values.mean(1).reshape(20, 2).mean(1) for values in (first, second)]
    assert test.n == test.differing == 20
    assert test.note == ""
    found = stats.permutation_test(
        heads,
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    )
    assert test.p == pytest.approx(found.pvalue, abs=0.01)
    assert test.p_error == test.p_holm_error == 0
    assert test.p_holm == test.p
    assert test.difference == pytest.approx((heads[0] - heads[1]).mean())
    spread = 1.96 * (heads[0] - heads[1]).std() / np.sqrt(20)  # the textbook's interval
    assert test.high - test.low == pytest.approx(2 * spread, rel=0.2)
    assert test.low < test.difference < test.high
    # taking the sides for independent would look surer than it is where both sides of a head agree
    twice = {"a": [score_table(np.repeat(heads[0], 2))], "b": [score_table(np.repeat(heads[1], 2))]}
    assert paired_tests(twice, HEADS)[0].p == pytest.approx(test.p)
    alone = paired_tests(twice, {case: case for case in HEADS})[0]
    assert alone.n == 40
    assert alone.p < test.p


def test_seeds_are_averaged_first(base):
    up, down = score_table(base + 0.02), score_table(base - 0.02)
    (test,) = paired_tests({"a": [up, down], "b": [score_table(base)]}, HEADS)
    assert test.n == 20
    assert test.differing == 0
    assert test.difference == pytest.approx(0)
    assert test.p == 1


def test_one_structure_alone(base):
    arms = {"a": [score_table(np.stack([base + 0.01, base], 1))], "b": [score_table(base)]}
    both, anterior, posterior = paired_tests(
        arms, HEADS, ("dice", "dice_anterior", "dice_posterior")
    )
    assert [t.difference for t in (both, anterior, posterior)] == [
        pytest.approx(d, abs=1e-9) for d in (0.005, 0.01, 0)
    ]
    assert posterior.better == ""
    assert "no difference in any pair" in posterior.note
    assert both.better == anterior.better == "a"


def test_holm_runs_over_all_tests_of_a_call(base):
    rng = np.random.default_rng(1)
    arms = {
        name: [score_table(base + shift + rng.normal(0, 0.01, 40))]
        for name, shift in (("a", 0.006), ("b", 0), ("c", 0))
    }
    alone = paired_tests(arms, HEADS, pairs=[("a", "b")])[0]
    tests = paired_tests(arms, HEADS, ("dice", "dice_anterior"))
    assert [(t.first, t.second) for t in tests] == [("a", "b"), ("a", "c"), ("b", "c")] * 2
    assert [t.p_holm for t in tests] == [each.p for each in holm([t.p for t in tests])]
    assert tests[0].p == alone.p == alone.p_holm < tests[0].p_holm


def test_fewer_millimetres_are_better(base):
    columns = ("hd95_mm_anterior", "hd95_mm_posterior")
    arms = {"near": [score_table(base, columns)], "far": [score_table(base + 0.3, columns)]}
    for metric in ("hd95_mm", "hd95", "hd95_mm_anterior"):
        (test,) = paired_tests(arms, HEADS, (metric,))
        assert test.better == "near"
        assert test.difference == pytest.approx(-0.3)


def test_volume_differences_count_by_their_size():
    columns, sign = ("volume_difference_ml_a",), np.tile([1, -1], 20)
    arms = {"a": [score_table(0.2 * sign, columns)], "b": [score_table(np.full(40, 0.1), columns)]}
    (test,) = paired_tests(arms, HEADS, ("volume_difference_ml",))
    # its bias is larger, its errors smaller
    assert test.mean_first == pytest.approx(0.2)
    assert test.better == "b"


def test_finding_what_is_not_there_costs_something():
    """In the first 20 cases the truth has no posterior part; arm b outlines one, so only its
    Dice is defined (0).
    """
    right, wrong = np.full((40, 2), 0.9), np.full((40, 2), 0.9)
    right[:20, 1], wrong[:20, 1] = NAN, 0
    (test,) = paired_tests(
        {"a": [score_table(right)], "b": [score_table(wrong)]}, HEADS, ("dice_posterior",)
    )
    assert test.n == 20
    assert test.difference == pytest.approx(0.5)
    assert test.better == "a"
    columns = ("hd95_mm_anterior", "hd95_mm_posterior")
    right[:20, 1], wrong[:20, 1] = NAN, 50
    (test,) = paired_tests(
        {"a": [score_table(right, columns)], "b": [score_table(wrong, columns)]}, HEADS, ("hd95",)
    )
    assert test.difference == pytest.approx(-50 / 4)
    assert test.better == "a"
    # where neither outlines it, it is left out, and so are the heads that have nothing else
    (both,) = paired_tests(
        {"a": [score_table(right)], "b": [score_table(right)]}, HEADS, ("dice_posterior",)
    )
    assert both.n == 10
    assert both.differing == 0
    # a blank of somebody else's column tells nothing
    odd = {"a": [score_table(right, ("x_1", "x_2"))], "b": [score_table(wrong, ("x_1", "x_2"))]}
    assert paired_tests(odd, HEADS, ("x_2",))[0].n == 10


def test_equal_pairs_change_no_p(base):
    better = base.copy()
    better[:16] += (
        np.repeat(np.arange(1, 9), 2) / 1000
    )  # 8 heads, all in one direction; 12 are equal
    (test,) = paired_tests({"a": [score_table(better)], "b": [score_table(base)]}, HEADS)
    assert (test.n, test.differing) == (20, 8)
    assert test.p == pytest.approx(2 / 2**8)
    assert "12 equal pairs" in test.note
    assert test.difference == pytest.approx(
        np.arange(1, 9).sum() / 1000 / 20
    )  # but count in the mean


def test_too_few_pairs_are_named(base):
    few = {case: HEADS[case] for case in list(HEADS)[:8]}
    (test,) = paired_tests(
        {"a": [score_table(base[:8] + np.arange(1, 9) / 100)], "b": [score_table(base[:8])]}, few
    )
    assert test.n == 4
    assert test.p == pytest.approx(2 / 2**4)
    assert test.better == ""
    assert "too few: 4 differing pairs cannot give p below 0.12" in test.note
    (one,) = paired_tests({"a": [score_table(base[:2] + 0.1)], "b": [score_table(base[:2])]}, few)
    assert one.n == 1
    assert one.p == 1
    assert math.isnan(one.low)
    assert "too few: 1 differing pair " in one.note
    assert "no difference shown; too few" in comparison_table([test])


def test_a_few_great_losses_are_not_hidden_by_many_small_wins(base):
    """18 heads win 0.001 to 0.018, two lose 0.8: the mean says b, two heads alone are no proof."""
    first = base + np.repeat([*np.arange(1, 19) / 1000, -0.8, -0.7], 2)
    (test,) = paired_tests({"a": [score_table(first)], "b": [score_table(base)]}, HEADS)
    assert test.p > 0.05
    assert test.difference < 0
    assert test.better == ""
    assert "no difference shown" in comparison_table([test]).splitlines()[1]


def test_thousands_of_pairs_can_be_compared():
    """2 to the power of 2000 is no floating-point number."""
    values = np.random.default_rng(0).normal(0.8, 0.05, 2000)
    first, second = ({str(n): {"dice": v} for n, v in enumerate(values + d)} for d in (0.01, 0.0))
    groups = {case: case for case in first}
    (test,) = paired_tests({"a": [first], "b": [second]}, groups)
    assert test.differing == 2000
    assert test.better == "a"
    assert test.note == ""
    assert 0 < test.p_error < 1e-5
    assert "Monte-Carlo" in comparison_table([test])


def test_the_margin_that_the_interval_excludes(base):
    """No difference shown, and none beyond half a hundredth: that is what the cases can say."""
    rng = np.random.default_rng(5)
    arms = {name: [score_table(base + rng.normal(0, 0.006, 40))] for name in "ab"}
    there, back = (paired_tests(arms, HEADS, pairs=[pair])[0] for pair in (("a", "b"), ("b", "a")))
    assert there.better == ""
    assert there.margin == max(-there.low, there.high) == pytest.approx(back.margin)
    assert 0 < there.margin < 0.005
    assert abs(there.difference) < there.margin


def test_arms_with_different_cases_share_what_they_can(base):
    short = {case: row for case, row in score_table(base).items() if case < "hippocampus_031"}
    (test,) = paired_tests({"a": [score_table(base + 0.01)], "b": [short]}, HEADS)
    assert test.n == 15
    assert "without 10 cases that only one arm has" in test.note
    assert {
        name: len(v)
        for name, v in arm_values({"a": [score_table(base)], "b": [short]}, HEADS).items()
    } == {"a": 15, "b": 15}


@pytest.mark.parametrize(
    "arms, metric, sentence",
    [
        (
            {"a": [score_table([0.5])], "b": [{"other": {"dice_x": 0.1}}]},
            "dice",
            "have no case in common",
        ),
        (
            {"a": [score_table([0.5, 0.6]), score_table([0.5])], "b": [score_table([0.5])]},
            "dice",
            'tables of "a" do not hold the same cases',
        ),
        (
            {"a": [score_table([0.5])], "b": [score_table([0.5])]},
            "speed",
            'have no column of "speed" in common',
        ),
        (
            {"a": [score_table([NAN])], "b": [score_table([NAN])]},
            "dice",
            'have no values of "dice" to compare',
        ),
    ],
)
def test_arms_that_cannot_be_compared(arms, metric, sentence):
    with pytest.raises(UserError, match=sentence):
        paired_tests(arms, HEADS | {"other": "other"}, (metric,))
