"""Comparisons of score tables, as a library and on the command line."""

import csv
import json
import math

import numpy as np
import pytest

from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.evaluation.comparison import compare_files, parse_arms
from MedLLMSegLib.evaluation.scores import read_table
from Testing.helpers.score_tables import HEADS, write_score_table

NAN = math.nan


@pytest.fixture
def base():
    return np.random.default_rng(3).normal(0.87, 0.03, 40)


def test_the_command_line(tmp_path, base, capsys):
    rng = np.random.default_rng(5)
    for seed in (1, 2):
        write_score_table(tmp_path / f"with_{seed}.csv", base + 0.02 + rng.normal(0, 0.005, 40))
    without = write_score_table(tmp_path / "without.csv", base)
    far = write_score_table(tmp_path / "other.csv", base - 0.1)
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
    assert "with - without" in screen
    assert "with is better" in screen
    assert "without is better" in screen
    assert "Holm's correction over 3 tests" in screen
    assert "heads or patients" in screen
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["first"] + r["second"] for r in rows] == ["withwithout", "withfar", "withoutfar"]
    assert [int(r["n"]) for r in rows] == [20] * 3
    assert float(rows[0]["difference"]) == pytest.approx(0.02, abs=0.003)
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
    assert seeds == 0
    assert "dice_anterior" in capsys.readouterr().out


def test_equal_tables_say_no_difference(tmp_path, base, capsys):
    assert (
        main(
            [
                "evaluate",
                "--compare",
                write_score_table(tmp_path / "a.csv", base),
                write_score_table(tmp_path / "b.csv", base),
            ]
        )
        == 0
    )
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("dice"))
    assert line.endswith("   no difference in any pair")
    assert "1.0000" in line
    assert "better" not in line


def test_groups_come_from_the_summary(tmp_path, base):
    """The patients of a CSV source are not in the cases' names; evaluate writes them beside the
    table.
    """
    a, b = (
        write_score_table(tmp_path / "a.csv", base),
        write_score_table(tmp_path / "b.csv", base + 0.01),
    )
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
    assert found.n == 3
    assert "counted as a patient" not in found.note


def test_names_of_arms(tmp_path, base):
    one, two = (
        write_score_table(tmp_path / "run1" / "test.csv", base),
        write_score_table(tmp_path / "run2" / "test.csv", base),
    )
    assert list(parse_arms([one, two])) == [one, two]  # the same file name in two folders
    comma = write_score_table(tmp_path / "a,b=c.csv", base)
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
        (["A", "EMPTY"], "is not a table of scores"),
        (["A", "BINARY"], "is not a table of scores"),
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
        write_score_table(tmp_path / name, base)
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
    assert sentence in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


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
    path = write_score_table(tmp_path / "a.csv", np.array([[0.5, NAN], [1, 0]]))
    found = read_table(path)
    assert found["hippocampus_002"] == {"dice_anterior": 1, "dice_posterior": 0}
    assert math.isnan(found["hippocampus_001"]["dice_posterior"])
