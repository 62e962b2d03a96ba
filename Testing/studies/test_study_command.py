"""The studies' commands: the command on the page makes the same study again, and progress tells
run from run.
"""

import shlex

import pytest

from MedLLMSegLib.studies.diagnosis import (
    ablation,
    heart_sequences,
    nodules,
    record_fusion_study,
)
from MedLLMSegLib.studies.diagnosis.classifier_study import COLLECTED
from MedLLMSegLib.studies.study.part_options import command_of
from MedLLMSegLib.studies.study.results import StudyResults


def test_the_command_keeps_all_but_the_part_of_the_work():
    given = [
        "--data",
        "my x-rays",
        "--size",
        "64",
        "--only",
        "main,tune-*",
        "--device=cuda",
        "--minutes=3",
        "--page",
        "--epochs",
        "2",
    ]
    command = command_of(ablation.__name__, given)
    assert shlex.split(command) == [
        "python",
        "-m",
        "MedLLMSegLib.studies.diagnosis.ablation",
        "--data",
        "my x-rays",
        "--size",
        "64",
        "--device=cuda",
        "--epochs",
        "2",
    ]
    assert shlex.split(command_of("m", ["--list", "--measure", "--min", "3"]))[3:] == []


def test_a_page_says_the_command_that_was_given(tmp_path, capsys):
    docs = tmp_path / "my docs"
    given = ["--output", str(tmp_path), "--docs", str(docs), "--seeds", "1", "--epochs", "3"]
    assert record_fusion_study.main([*given, "--page"]) == 0
    command = StudyResults(docs / COLLECTED, "records-synthetic").get("command")
    assert command == shlex.join(
        ["python", "-m", "MedLLMSegLib.studies.diagnosis.record_fusion_study", *given]
    )
    assert command in (docs / "diagnosis.md").read_text(encoding="utf-8")


def test_bad_input_is_one_sentence(tmp_path, capsys):
    assert ablation.main(["--data", str(tmp_path), "--docs", str(tmp_path)]) == 2
    assert "no table of images" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        ablation.main([])


@pytest.mark.parametrize("study", (ablation, heart_sequences, nodules, record_fusion_study))
def test_a_study_names_its_own_module_as_the_command(study, monkeypatch):
    commands = []
    monkeypatch.setattr(study, "_run", lambda options: commands.append(options.command))
    arguments = ["--data", "images", "--output", "runs"]
    assert study.main(arguments) == 0
    assert commands == [shlex.join(["python", "-m", study.__name__, *arguments])]
