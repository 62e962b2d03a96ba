"""Paired comparisons on tables whose answers are known, as a library and on the command line."""

import csv
import json
import math

import numpy as np
import pytest
from scipy import stats

from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.evaluation.comparison import compare_files, comparison_table, parse_arms
from MedLLMSegLib.evaluation.scores import read_table
from MedLLMSegLib.metrics.paired_tests import arm_values, holm, paired_tests, signed_rank

NAN = math.nan
HEADS = {
    f"hippocampus_{n:03d}": f"hippocampus head {(n + 1) // 2}" for n in range(1, 41)
}  # 20 heads, two sides each


def table(values, columns=("dice_anterior", "dice_posterior")):
    """One case a row of ``values``, (cases, columns) or (cases,) for equal columns."""
    values = np.broadcast_to(np.asarray(values, float).T, (len(columns), len(values))).T
    return {case: dict(zip(columns, map(float, row))) for case, row in zip(HEADS, values)}


def write(path, values, columns=("dice_anterior", "dice_posterior")):
    lines = [["case", *columns]] + [
        [case, *("" if math.isnan(v) else f"{v:.6f}" for v in row.values())]
        for case, row in table(values, columns).items()
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")
    return str(path)


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
    (test,) = paired_tests({"a": [table(first)], "b": [table(second)]}, HEADS)
    heads = [values.mean(1).reshape(20, 2).mean(1) for values in (first, second)]
    assert test.n == test.differing == 20 and test.note == ""
    assert test.p == pytest.approx(stats.wilcoxon(*heads).pvalue) and test.p_holm == test.p
    assert test.difference == pytest.approx((heads[0] - heads[1]).mean())
    spread = 1.96 * (heads[0] - heads[1]).std() / np.sqrt(20)  # the textbook's interval
    assert (
        test.high - test.low == pytest.approx(2 * spread, rel=0.2)
        and test.low < test.difference < test.high
    )
    # taking the sides for independent would look surer than it is where both sides of a head agree
    twice = {"a": [table(np.repeat(heads[0], 2))], "b": [table(np.repeat(heads[1], 2))]}
    assert paired_tests(twice, HEADS)[0].p == pytest.approx(test.p)
    alone = paired_tests(twice, {case: case for case in HEADS})[0]
    assert alone.n == 40 and alone.p < test.p


def test_seeds_are_averaged_first(base):
    up, down = table(base + 0.02), table(base - 0.02)
    (test,) = paired_tests({"a": [up, down], "b": [table(base)]}, HEADS)
    assert (
        test.n == 20 and test.differing == 0 and test.difference == pytest.approx(0) and test.p == 1
    )


def test_one_structure_alone(base):
    arms = {"a": [table(np.stack([base + 0.01, base], 1))], "b": [table(base)]}
    both, anterior, posterior = paired_tests(
        arms, HEADS, ("dice", "dice_anterior", "dice_posterior")
    )
    assert [t.difference for t in (both, anterior, posterior)] == [
        pytest.approx(d, abs=1e-9) for d in (0.005, 0.01, 0)
    ]
    assert posterior.better == "" and "no difference in any pair" in posterior.note
    assert both.better == anterior.better == "a"


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03]) == [
        pytest.approx(0.03),
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.02]) == [0.02]
    assert holm([0.001, 0.001, 0.04]) == [pytest.approx(v) for v in (0.003, 0.003, 0.04)]


def test_holm_runs_over_all_tests_of_a_call(base):
    rng = np.random.default_rng(1)
    arms = {
        name: [table(base + shift + rng.normal(0, 0.01, 40))]
        for name, shift in (("a", 0.006), ("b", 0), ("c", 0))
    }
    alone = paired_tests(arms, HEADS, pairs=[("a", "b")])[0]
    tests = paired_tests(arms, HEADS, ("dice", "dice_anterior"))
    assert [(t.first, t.second) for t in tests] == [("a", "b"), ("a", "c"), ("b", "c")] * 2
    assert [t.p_holm for t in tests] == holm([t.p for t in tests])
    assert tests[0].p == alone.p == alone.p_holm < tests[0].p_holm


def test_fewer_millimetres_are_better(base):
    columns = ("hd95_mm_anterior", "hd95_mm_posterior")
    arms = {"near": [table(base, columns)], "far": [table(base + 0.3, columns)]}
    for metric in ("hd95_mm", "hd95", "hd95_mm_anterior"):
        (test,) = paired_tests(arms, HEADS, (metric,))
        assert test.better == "near" and test.difference == pytest.approx(-0.3)


def test_volume_differences_count_by_their_size():
    columns, sign = ("volume_difference_ml_a",), np.tile([1, -1], 20)
    arms = {"a": [table(0.2 * sign, columns)], "b": [table(np.full(40, 0.1), columns)]}
    (test,) = paired_tests(arms, HEADS, ("volume_difference_ml",))
    assert (
        test.mean_first == pytest.approx(0.2) and test.better == "b"
    )  # its bias is larger, its errors smaller


def test_finding_what_is_not_there_costs_something():
    """In the first 20 cases the truth has no posterior part; arm b outlines one, so only its
    Dice is defined (0).
    """
    right, wrong = np.full((40, 2), 0.9), np.full((40, 2), 0.9)
    right[:20, 1], wrong[:20, 1] = NAN, 0
    (test,) = paired_tests({"a": [table(right)], "b": [table(wrong)]}, HEADS, ("dice_posterior",))
    assert test.n == 20 and test.difference == pytest.approx(0.5) and test.better == "a"
    columns = ("hd95_mm_anterior", "hd95_mm_posterior")
    right[:20, 1], wrong[:20, 1] = NAN, 50
    (test,) = paired_tests(
        {"a": [table(right, columns)], "b": [table(wrong, columns)]}, HEADS, ("hd95",)
    )
    assert test.difference == pytest.approx(-50 / 4) and test.better == "a"
    # where neither outlines it, it is left out, and so are the heads that have nothing else
    (both,) = paired_tests({"a": [table(right)], "b": [table(right)]}, HEADS, ("dice_posterior",))
    assert both.n == 10 and both.differing == 0
    # a blank of somebody else's column tells nothing
    odd = {"a": [table(right, ("x_1", "x_2"))], "b": [table(wrong, ("x_1", "x_2"))]}
    assert paired_tests(odd, HEADS, ("x_2",))[0].n == 10


def test_equal_pairs_are_left_out_of_the_ranks(base):
    better = base.copy()
    better[:16] += (
        np.repeat(np.arange(1, 9), 2) / 1000
    )  # 8 heads, all in one direction; 12 are equal
    (test,) = paired_tests({"a": [table(better)], "b": [table(base)]}, HEADS)
    assert (
        (test.n, test.differing) == (20, 8)
        and test.p == pytest.approx(2 / 2**8)
        and "12 equal pairs" in test.note
    )
    assert test.difference == pytest.approx(
        np.arange(1, 9).sum() / 1000 / 20
    )  # but count in the mean


def test_too_few_pairs_are_named(base):
    few = {case: HEADS[case] for case in list(HEADS)[:8]}
    (test,) = paired_tests(
        {"a": [table(base[:8] + np.arange(1, 9) / 100)], "b": [table(base[:8])]}, few
    )
    assert test.n == 4 and test.p == pytest.approx(2 / 2**4) and test.better == ""
    assert "too few: 4 differing pairs cannot give p below 0.12" in test.note
    (one,) = paired_tests({"a": [table(base[:2] + 0.1)], "b": [table(base[:2])]}, few)
    assert (
        one.n == 1
        and one.p == 1
        and math.isnan(one.low)
        and "too few: 1 differing pair " in one.note
    )
    assert "no difference shown; too few" in comparison_table([test])


def test_a_few_great_losses_are_not_hidden_by_many_small_wins(base):
    """18 heads win 0.001 to 0.018, two lose 0.8: the ranks favour a, the mean b, and neither is
    called better.
    """
    first = base + np.repeat([*np.arange(1, 19) / 1000, -0.8, -0.7], 2)
    (test,) = paired_tests({"a": [table(first)], "b": [table(base)]}, HEADS)
    assert test.p < 0.05 and test.difference < 0 and test.better == ""
    line = comparison_table([test]).splitlines()[1]
    assert "the mean the other" in line and "no difference" not in line and "better" not in line


def test_ranks_against_a_count_of_all_signs():
    """With ties, against all 2^7 ways to give the differences their signs."""
    differences = np.array([0.1, 0.1, 0.2, -0.1, 0.3, 0.2, 0.4])
    ranks = stats.rankdata(np.abs(differences))
    signs = np.array(np.meshgrid(*[[-1, 1]] * 7)).reshape(7, -1)
    sums, seen = ranks @ signs, ranks @ np.sign(differences)
    p, sign, differing = signed_rank(differences + np.array([1, -1, 1, 1, -1, 1, 1]) * 1e-16)
    assert (
        p == pytest.approx((np.abs(sums) >= np.abs(seen) - 1e-9).mean())
        and sign == 1
        and differing == 7
    )
    assert signed_rank(np.zeros(5)) == (1.0, 0.0, 0)


def test_arms_with_different_cases_share_what_they_can(base):
    short = {case: row for case, row in table(base).items() if case < "hippocampus_031"}
    (test,) = paired_tests({"a": [table(base + 0.01)], "b": [short]}, HEADS)
    assert test.n == 15 and "without 10 cases that only one arm has" in test.note
    assert {
        name: len(v) for name, v in arm_values({"a": [table(base)], "b": [short]}, HEADS).items()
    } == {"a": 15, "b": 15}


@pytest.mark.parametrize(
    "arms, metric, sentence",
    [
        (
            {"a": [table([0.5])], "b": [{"other": {"dice_x": 0.1}}]},
            "dice",
            "have no case in common",
        ),
        (
            {"a": [table([0.5, 0.6]), table([0.5])], "b": [table([0.5])]},
            "dice",
            'tables of "a" do not hold the same cases',
        ),
        (
            {"a": [table([0.5])], "b": [table([0.5])]},
            "speed",
            'have no column of "speed" in common',
        ),
        ({"a": [table([NAN])], "b": [table([NAN])]}, "dice", 'have no values of "dice" to compare'),
    ],
)
def test_arms_that_cannot_be_compared(arms, metric, sentence):
    with pytest.raises(UserError, match=sentence):
        paired_tests(arms, HEADS | {"other": "other"}, (metric,))


def test_the_command_line(tmp_path, base, capsys):
    rng = np.random.default_rng(5)
    for seed in (1, 2):
        write(tmp_path / f"with_{seed}.csv", base + 0.02 + rng.normal(0, 0.005, 40))
    without = write(tmp_path / "without.csv", base)
    far = write(tmp_path / "other.csv", base - 0.1)
    output = tmp_path / "tests.csv"
    assert (
        main(
            [
                "evaluate",
                "--compare",
                f"with={tmp_path}/with_*.csv",
                without,
                f"far={far}",
                "-o",
                str(output),
            ]
        )
        == 0
    )
    screen = capsys.readouterr().out
    assert (
        "with - without" in screen and "with is better" in screen and "without is better" in screen
    )
    assert "Holm's correction over 3 tests" in screen and "heads or patients" in screen
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["first"] + r["second"] for r in rows] == ["withwithout", "withfar", "withoutfar"]
    assert [int(r["n"]) for r in rows] == [20] * 3 and float(
        rows[0]["difference"]
    ) == pytest.approx(0.02, abs=0.003)
    assert (tmp_path / "tests.png").read_bytes().startswith(b"\x89PNG")
    seeds = main(
        [
            "evaluate",
            "--compare",
            f"with={tmp_path}/with_1.csv,{tmp_path}/with_2.csv",
            without,
            "--metric",
            "dice_anterior",
        ]
    )
    assert seeds == 0 and "dice_anterior" in capsys.readouterr().out


def test_equal_tables_say_no_difference(tmp_path, base, capsys):
    assert (
        main(
            [
                "evaluate",
                "--compare",
                write(tmp_path / "a.csv", base),
                write(tmp_path / "b.csv", base),
            ]
        )
        == 0
    )
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("dice"))
    assert (
        line.endswith("   no difference in any pair") and "1.0000" in line and "better" not in line
    )


def test_groups_come_from_the_summary(tmp_path, base):
    """The patients of a CSV source are not in the cases' names; evaluate writes them beside the
    table.
    """
    a, b = write(tmp_path / "a.csv", base), write(tmp_path / "b.csv", base + 0.01)
    patients = {case: f"patient {n // 4}" for n, case in enumerate(HEADS)}
    for name in "ab":
        (tmp_path / f"{name}.summary.json").write_text(json.dumps({"group_of": patients}))
    assert compare_files([a, b])[0].n == 10
    (tmp_path / "b.summary.json").write_text(
        json.dumps({"group_of": patients | {"hippocampus_001": "patient 9"}})
    )
    with pytest.raises(UserError, match='"hippocampus_001" belongs to "patient 9"'):
        compare_files([a, b])
    (tmp_path / "a.summary.json").unlink()
    (tmp_path / "b.summary.json").write_text("{")
    assert compare_files([a, b])[0].n == 20


def test_where_nobody_says_whose_a_case_is_a_note_does(tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    for path, more in ((a, 0.0), (b, 0.01)):
        path.write_text(
            "case,dice_liver\n" + "".join(f"scan{n},{0.8 + more + 0.001 * n}\n" for n in range(6))
        )
    assert "each case counted as a patient of its own" in compare_files([str(a), str(b)])[0].note
    for path in (a, b):
        path.with_suffix(".summary.json").write_text(
            json.dumps({"group_of": {f"scan{n}": f"p{n // 2}" for n in range(6)}})
        )
    found = compare_files([str(a), str(b)])[0]
    assert found.n == 3 and "counted as a patient" not in found.note


def test_names_of_arms(tmp_path, base):
    one, two = (
        write(tmp_path / "run1" / "test.csv", base),
        write(tmp_path / "run2" / "test.csv", base),
    )
    assert list(parse_arms([one, two])) == [one, two]  # the same file name in two folders
    comma = write(tmp_path / "a,b=c.csv", base)
    assert {n: [str(p) for p in paths] for n, paths in parse_arms([comma, f"x={one}"]).items()} == {
        "a,b=c": [comma],
        "x": [one],
    }


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["A"], "1 arm is given, and at least two"),
        (["A", "missing.csv"], 'no table "missing.csv"'),
        (["A", "none_*.csv"], 'no table "none_*.csv"'),
        (["A", "x=A"], "is given twice"),
        (["x=A", "x=B"], 'Two arms are called "x"'),
        (["A", "BAD"], 'first column must be "case"'),
        (["A", "TEXT"], 'has "good" as dice_anterior'),
        (["A", "SHORT"], "has 2 values instead of 3"),
        (["A", "TWICE"], '"hippocampus_001" of'),
        (["A", "EMPTY"], "is no table of scores"),
        (["A", "BINARY"], "is no table of scores"),
        (["A", "B", "--metric", "speed"], 'no column of "speed"'),
        (["A", "B", "--metric", ","], "names no metric"),
        (["A", "B", "--data", "x"], "--data is for measuring"),
        (["A", "B", "--calibration"], "--calibration is for measuring"),
        (["A", "B", "--output", "A/x.csv"], "is a file"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, base, capsys, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    for name in "AB":
        write(tmp_path / name, base)
    (tmp_path / "BAD").write_text("id,dice\n1,2\n")
    (tmp_path / "TEXT").write_text("case,dice_anterior,dice_posterior\nhippocampus_001,good,0.5\n")
    (tmp_path / "SHORT").write_text("case,dice_anterior,dice_posterior\nhippocampus_001,0.5\n")
    (tmp_path / "TWICE").write_text(
        "case,dice_anterior\nhippocampus_001,0.5\nhippocampus_001,0.5\n"
    )
    (tmp_path / "EMPTY").write_text("")
    (tmp_path / "BINARY").write_bytes(b"\xff\xfe\x00\x81" * 9)
    assert main(["evaluate", "--compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1 and "Traceback" not in error


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--output", "x.csv"], "--data and --output are needed"),
        (["--data", "."], "--data and --output are needed"),
        (["--data", ".", "--output", "x.csv", "--metric", "dice"], "--metric belongs to --compare"),
        (["--data", "nowhere", "--output", "x.csv"], 'There is no file or folder "nowhere"'),
    ],
)
def test_measuring_needs_its_options(tmp_path, capsys, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_tables_are_read_back_as_they_were(tmp_path):
    path = write(tmp_path / "a.csv", np.array([[0.5, NAN], [1, 0]]))
    found = read_table(path)
    assert found["hippocampus_002"] == {"dice_anterior": 1, "dice_posterior": 0}
    assert math.isnan(found["hippocampus_001"]["dice_posterior"])
