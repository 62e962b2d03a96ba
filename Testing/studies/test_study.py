"""The one Study: stopped at any moment it goes on, shares its folder, tunes on val, and refuses
results of other settings. Its work here is arithmetic in place of trainings.
"""

import argparse
import json
import math

import pytest

from MedLLMSegLib.core.errors import TimeIsUp, UserError
from MedLLMSegLib.studies.study.command import do_study, guarded
from MedLLMSegLib.studies.study.page import ArmRow, TableForm, arms_table, difference_text
from MedLLMSegLib.studies.study.part_options import add_part_options, command_of
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.studies.study.runs import Run, Tuning
from MedLLMSegLib.studies.study.settings import refuse_other
from MedLLMSegLib.studies.study.study import Study

SETTINGS = {"steps": 3, "loop": {"batch": 2, "clip": 1.0}}
TUNING = Tuning((1e-3, 3e-3), "val", like={"part": "main"}, plain=("blind",))


class Stopped(Exception):
    """What a kill is: the end, with no chance to save anything."""


def study_of(folder, arms=("main", "part", "blind"), seeds=(0, 1), tuning=TUNING, **more):
    """A study whose "trainings" score 0.8 and the higher rate 0.9; it keeps what was done."""
    done, results = [], StudyResults(folder / "docs/r.json")
    settings = more.pop("settings", SETTINGS)

    def work(task):
        done.append(task)
        for step in range(3):
            task.progress(f"step {step}", step / 3)
        return {"val": 0.9 if task.lr == 3e-3 else 0.8, "lr": task.lr}

    results.begin(settings)
    runs = [Run(arm, seed) for seed in seeds for arm in arms]
    study = Study(runs, work, folder / "runs", results, settings, tuning, **more)
    study.done = done
    return study


def names(study):
    return [task.run.name for task in study.done]


def test_tuning_comes_first_and_chooses_each_arms_rate_on_val(tmp_path):
    one = study_of(tmp_path)
    finished = one.run()
    tuned = ["tune-main-lr0.001", "tune-main-lr0.003"]
    counted = [f"{arm}-{seed}" for seed in (0, 1) for arm in ("main", "part", "blind")]
    assert finished == names(one) == tuned + counted
    rates = {task.run.name: task.lr for task in one.done}
    assert {rates[f"{arm}-{seed}"] for arm in ("main", "part") for seed in (0, 1)} == {3e-3}
    assert rates["blind-0"] is None
    kept = json.loads((tmp_path / "docs/r.json").read_text(encoding="utf-8"))
    assert kept["settings"] == SETTINGS
    assert set(kept["runs"]) == set(finished)
    # The run that counts goes on where the very same training was a tuning run's.
    folders = {task.run.name: task.folder.name for task in one.done}
    assert folders["main-0"] == "tune-main-lr0.003"
    assert folders["part-0"] == "part-0"
    assert folders["main-1"] == "main-1"


def test_stopped_at_any_moment_it_goes_on_and_does_nothing_twice(tmp_path):
    whole = study_of(tmp_path / "whole")
    whole.run()
    for after in range(1, 200):
        count = 0

        def stop(text, fraction, after=after):
            nonlocal count
            count += 1
            if count == after % 5 + 1:
                raise Stopped

        one = study_of(tmp_path / "parts")
        try:
            one.run(progress=stop)
        except Stopped:
            continue
        break
    assert one.results.runs == whole.results.runs
    assert study_of(tmp_path / "parts").run() == []


def test_two_processes_share_a_folder_and_a_file(tmp_path):
    one, other = study_of(tmp_path, tuning=None), study_of(tmp_path, tuning=None)
    one.run("main")
    assert other.run("*-0") == ["part-0", "blind-0"]
    other.results.put("measured", {"main": 1})
    assert sorted(one.run()) == ["blind-1", "part-1"]
    kept = json.loads((tmp_path / "docs/r.json").read_text(encoding="utf-8"))
    assert len(kept["runs"]) == 6
    assert kept["measured"] == {"main": 1}


def test_results_are_taken_from_the_folder_and_outlive_it(tmp_path):
    study_of(tmp_path, tuning=None).run("main-0")
    (tmp_path / "docs/r.json").unlink()
    again = study_of(tmp_path, tuning=None)
    again.gather()
    assert set(again.results.runs) == {"main-0"}
    (tmp_path / "runs/main-0/result.json").unlink()
    assert study_of(tmp_path, tuning=None).run("main-0") == []


def test_only_some_runs_and_the_tuning_that_they_need(tmp_path):
    one = study_of(tmp_path, extra=[Run("rare", 0)])
    assert [run.name for run in one.chosen("part-1")] == [
        "tune-main-lr0.001",
        "tune-main-lr0.003",
        "part-1",
    ]
    assert [run.name for run in one.chosen("blind-0,blind-1")] == ["blind-0", "blind-1"]
    assert [run.name for run in one.chosen("rare")] == ["rare-0"]
    assert "rare-0" not in [run.name for run in one.chosen(None)]
    with pytest.raises(UserError, match='No run is called "none"; the arms are main, part, blind'):
        one.chosen("none")
    with pytest.raises(UserError, match='The learning rate of "main" has not been chosen yet'):
        one.rate(Run("part", 0))


def test_an_arm_that_is_tuned_later_runs_anew_where_its_rate_was_another(tmp_path):
    one = study_of(tmp_path)
    one.run()
    own = Tuning((1e-3, 3e-3), "val", plain=("blind",))
    later = study_of(tmp_path, tuning=own)
    assert later.is_finished(Run("part", 0))
    later.results.add({"tune-part-lr0.001": {"val": 1.0}, "tune-part-lr0.003": {"val": 0.0}})
    assert later.run() == ["part-0", "part-1"]
    assert later.results.runs["part-0"]["lr"] == 1e-3


def test_the_minutes_stop_it(tmp_path):
    one = study_of(tmp_path)
    with pytest.raises(TimeIsUp, match="0 minutes are over"):
        one.run(minutes=0)
    assert one.results.runs == {}


def test_other_settings_are_refused_in_file_and_folder(tmp_path):
    study_of(tmp_path).run("blind-0")
    other = {**SETTINGS, "loop": {"batch": 4, "clip": 1.0}}
    with pytest.raises(UserError, match=r"r.json.*loop.batch = 2, and 4 is asked for"):
        study_of(tmp_path, settings=other)
    (tmp_path / "docs/r.json").unlink()
    with pytest.raises(UserError, match=r"settings.json.*loop.batch = 2"):
        study_of(tmp_path, settings=other).run()


def test_a_setting_that_came_later_and_is_off_parts_nothing(tmp_path):
    refuse_other({"steps": 3}, {"steps": 3, "views": None, "flips": []}, tmp_path)
    with pytest.raises(UserError, match="views = null, and 4 is asked for"):
        refuse_other({"steps": 3}, {"steps": 3, "views": 4}, tmp_path)
    refuse_other({"steps": 3}, {"steps": 3, "views": 4}, tmp_path, lambda old: {"views": 4, **old})
    with pytest.raises(UserError, match='colour = "blue", and null'):
        refuse_other({"steps": 3, "colour": "blue"}, {"steps": 3}, tmp_path)
    with pytest.raises(UserError, match="another version, or is damaged"):
        refuse_other({}, {"steps": 3}, tmp_path, lambda old: old["steps"])


def test_several_studies_may_lie_in_one_file(tmp_path):
    first, second = (StudyResults(tmp_path / "r.json", name) for name in "ab")
    first.begin({"x": 1}), second.begin({"x": 2})
    first.add({"one": {"v": 1}})
    second.add({"two": {"v": 2}})
    first.put("text", ["hello"])
    found = StudyResults(tmp_path / "r.json", "a")
    assert found.runs == {"one": {"v": 1}}
    assert found.of("b").runs == {"two": {"v": 2}}
    assert found.get("text") == ["hello"]
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        StudyResults(tmp_path / "r.json")


def run_command(study, *arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--output")
    add_part_options(parser)
    return guarded(
        parser,
        "a.module",
        arguments,
        lambda options: do_study(study, options, lambda: f"a page; made by {options.command}"),
    )


def test_a_command_lists_runs_and_writes_the_page(tmp_path, capsys):
    one = study_of(tmp_path, seeds=(0,))
    assert run_command(one, "--output", "o", "--only", "blind") == 0
    assert "a page; made by python -m a.module --output o\n" in capsys.readouterr().out
    assert run_command(one, "--list", "--only", "*-0") == 0
    assert capsys.readouterr().out.splitlines() == [
        "not run   tune-main-lr0.001",
        "not run   tune-main-lr0.003",
        "not run   main-0",
        "not run   part-0",
        "finished  blind-0",
    ]
    assert run_command(one, "--minutes", "0") == 0
    assert "the same command goes on from here" in capsys.readouterr().out
    assert run_command(one, "--page") == 0
    assert names(one) == ["blind-0"]
    assert run_command(one, "--only", "nothing") == 2
    assert 'No run is called "nothing"' in capsys.readouterr().err


def test_the_command_of_a_page_says_nothing_of_which_part_was_done():
    typed = ["--data", "a b", "--only", "x", "--list", "--minutes", "3", "--seeds", "2"]
    assert command_of("m", typed) == "python -m m --data 'a b' --seeds 2"


def test_the_table_of_arms_says_what_is_not_run():
    form = TableForm("Dice", "each seed", 3, ("HD95",), "main minus this arm")
    rows = [
        ArmRow("main", "0.850", [0.85], further=["1.2"]),
        ArmRow("part", "0.800", [0.7, 0.9], 1, ["1.4"], ["+0.050", "0.010"]),
        ArmRow("blind", "", against=None),
    ]
    assert arms_table(form, rows).splitlines()[2:] == [
        "| main | 0.850 | 0.850 | 1.2 |  |  |",
        "| part | 0.800 | 0.700, 0.900 (1 not run) | 1.4 | +0.050 | 0.010 |",
        "| blind | not run | not run | not run | not run | not run |",
    ]
    assert difference_text(0.0012, -0.0004, 0.002, 3) == "+0.001 (+0.000 to +0.002; ±0.002)"
    assert difference_text(0.1, math.nan, math.nan, 1) == "+0.1 (no interval)"
