"""The table of few cases says what was run, and nothing else."""

import json
from dataclasses import replace

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.studies import few_cases
from MedLLMSegLib.studies.few_cases import few_cases_study
from MedLLMSegLib.studies.few_cases_page import BEGIN, END, fill, gains, page
from MedLLMSegLib.studies.few_cases_plan import COUNTS, FewCasesPlan
from Testing.helpers.places import ROOT
from Testing.helpers.toy_training import write_toy_data

PLAN = FewCasesPlan("runs/acdc", "hippocampus-t1", (3, 5), (0, 1), 300)


@pytest.fixture
def data(tmp_path):
    return write_toy_data(tmp_path / "data")


def result(mean):
    """Ten patients with two frames each, which lie around the mean."""
    cases = {
        f"p{n}_{frame}": {
            "dice_a": mean + 0.01 * (n - 4.5),
            "dice_b": None if n == 0 else mean + 0.01 * (n - 4.5),
        }
        for n in range(10)
        for frame in "12"
    }
    return {
        "dice": {"mean": mean},
        "hd95_mm": {"mean": 3.0},
        "cases": 20,
        "groups": 10,
        "table": cases,
        "chosen_on": 20,
        "group_of": {case: case.split("_")[0] for case in cases},
    }


def test_the_table_tells_what_was_run():
    found = {
        "tuned-3-0": result(0.5),
        "tuned-3-1": result(0.6),
        "new-3-0": result(0.4),
        "new-3-1": result(0.45),
        "new-5-0": result(0.7),
    }
    text = page(PLAN, found, "the command")
    row = "| 3 | 0.425 (0.400, 0.450) | 0.550 (0.500, 0.600) | +0.125 (+0.125 to +0.125; ±0.125) |"
    assert f"{row} 0.002 |" in text  # 2 / 2**10
    assert "| 5 | 0.700 | not run | not run | not run |" in text
    assert "10 test patients" in text
    assert "`the command`" in text
    assert "20 labelled val cases" in text
    assert "0.003 fine-tuned, 0.001 from nothing" in text
    assert "Both ways with the learning rate 0.002." in page(
        replace(PLAN, lr=2e-3), found, "the command"
    )
    assert "not run" in page(PLAN, {}, "the command")
    assert "val cases" not in page(PLAN, {}, "the command")


def test_gains_are_over_patients_and_corrected_over_the_rows():
    found = {
        f"{way}-{count}-{seed}": result(0.5 + 0.1 * (way == "tuned"))
        for way in ("tuned", "new")
        for count in (3, 5)
        for seed in (0, 1)
    }
    tests = gains(PLAN, found)
    assert [t.n for t in tests.values()] == [10, 10]
    assert tests[3].p_holm == pytest.approx(2 * tests[3].p)
    assert tests[3].difference == pytest.approx(0.1)
    assert tests[3].better == "tuned 3"


def test_the_table_takes_its_place_in_the_page(tmp_path):
    path = tmp_path / "train.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    fill(path, "new")
    assert path.read_text(encoding="utf-8") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    path.write_text("nothing")
    with pytest.raises(UserError, match="no place for the table"):
        fill(path, "new")


def test_it_goes_on_where_it_was_and_refuses_other_settings(tmp_path, monkeypatch):
    trained = []

    def train(request, device, progress, say):
        trained.append((request.name, request.start, request.cases, request.seed))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return tmp_path / request.name

    monkeypatch.setattr(few_cases, "train_model", train)
    monkeypatch.setattr(
        few_cases,
        "evaluate",
        lambda bundle, data, csv, options: {
            "group_means": {"dice": {"mean": 0.5}, "hd95_mm": {"mean": 1.0}},
            "cases": 20,
            "groups": 10,
            "group_of": {},
        },
    )
    monkeypatch.setattr(
        few_cases,
        "read_table",
        lambda path: {"p1": {"dice_a": 0.5, "dice_b": float("nan"), "hd95_mm_a": 1.0}},
    )
    with pytest.raises(KeyboardInterrupt):
        few_cases_study(PLAN, tmp_path / "runs", tmp_path / "docs").run()
    assert trained == [
        ("tuned-3-0", "hippocampus-t1", 3, 0),
        ("new-3-0", None, 3, 0),
        ("tuned-5-0", "hippocampus-t1", 5, 0),
    ]
    study = few_cases_study(PLAN, tmp_path / "runs", tmp_path / "docs")
    study.run()
    found = study.results.runs
    assert found["tuned-3-0"]["table"] == {"p1": {"dice_a": 0.5, "dice_b": None}}
    assert len(found) == 8
    assert [t[0] for t in trained].count("tuned-3-0") == 1
    assert (
        json.loads((tmp_path / "docs/few-cases.json").read_text(encoding="utf-8"))["settings"][
            "steps"
        ]
        == 300
    )
    with pytest.raises(UserError, match="steps = 300, and 200 is asked for"):
        few_cases_study(
            FewCasesPlan("runs/acdc", "hippocampus-t1", (3,), (0,), 200),
            tmp_path / "runs",
            tmp_path / "docs",
        )


@pytest.mark.slow
def test_it_trains_measures_and_writes_the_table(data, tmp_path, monkeypatch):
    (tmp_path / "train.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert (
        few_cases.main(
            [
                "--data",
                str(data),
                "--output",
                str(tmp_path / "runs"),
                "--docs",
                str(tmp_path),
                "--counts",
                "2",
                "--steps",
                "2",
                "--window",
                "16",
                "24",
                "16",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    runs = json.loads((tmp_path / "few-cases.json").read_text(encoding="utf-8"))["runs"]
    row = next(
        line
        for line in (tmp_path / "train.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| 2 |")
    )
    assert all(f"{runs[name]['dice']['mean']:.3f}" in row for name in ("new-2-0", "tuned-2-0"))
    assert "not run" not in row
    assert list(runs["tuned-2-0"]["table"]) == ["case5"]  # the test split


def command(tmp_path, *more):
    return few_cases.main(
        [
            "--data",
            str(tmp_path / "nowhere"),
            "--output",
            str(tmp_path / "runs"),
            "--docs",
            str(tmp_path),
            *more,
        ]
    )


def test_what_is_wrong_is_one_sentence_before_any_work(tmp_path, capsys):
    assert command(tmp_path) == 2
    assert "no place for the table" in capsys.readouterr().err
    (tmp_path / "train.md").write_text(f"{BEGIN}\n{END}\n")
    assert command(tmp_path) == 2
    error = capsys.readouterr().err
    assert "no file or folder" in error
    assert "Traceback" not in error


def test_what_is_finished_can_be_written_alone(tmp_path, capsys):
    (tmp_path / "train.md").write_text(f"{BEGIN}\n{END}\n")
    about = FewCasesPlan(str(tmp_path / "nowhere"), "hippocampus-t1", (3, 5), (0,), 300).settings()
    (tmp_path / "few-cases.json").write_text(
        json.dumps({"settings": about, "runs": {"new-3-0": result(0.4)}})
    )
    assert command(tmp_path, "--page", "--counts", "3", "5") == 0
    text = (tmp_path / "train.md").read_text(encoding="utf-8")
    assert "| 3 | 0.400 | not run | not run | not run |" in text
    assert "--counts 3 5`" in text
    assert not (tmp_path / "runs").exists()


def test_the_table_in_the_docs_is_that_of_the_stored_results():
    whole = (ROOT / "docs/train.md").read_text(encoding="utf-8")
    text = whole.split(BEGIN)[1].split(END)[0].strip()
    command = text.split("Printed by `")[1].split("`")[0]
    settings = json.loads((ROOT / "docs/few-cases.json").read_text(encoding="utf-8"))["settings"]
    plan = FewCasesPlan(
        settings["data"],
        settings["start"],
        COUNTS,
        (0,),
        settings["steps"],
        tuple(settings["spacing"]),
        tuple(settings["window"]),
        lr=settings["lr"],
    )
    results = few_cases_study(plan, ROOT / "runs/none", ROOT / "docs").results
    assert page(plan, results.runs, command) == text
