"""The errors of a heart's figures, and their intervals over few patients."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from MedLLMSegLib.metrics.group_statistics import bootstrap_interval
from MedLLMSegLib.studies import heart_figures
from MedLLMSegLib.studies.heart_figures import errors, main, tables

EDV, EJECTION = "LV end-diastolic volume", "LV ejection fraction"
OFF = (-9.0, -4.0, 1.0, 3.0, -12.0)


def row(off, ejection=55.0):
    return {"by_hand": {EDV: 150.0, EJECTION: 60.0}, "found": {EDV: 150 + off, EJECTION: ejection}}


def cells_of(text, name):
    line = next(line for line in text.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_intervals_are_as_wide_as_so_few_patients_demand():
    _, count, unit, error, size = cells_of(tables([row(off) for off in OFF]), EDV)
    assert (count, unit) == ("5", "mL")
    mean, low, high = map(float, re.findall(r"[-+]?[0-9.]+", error))
    assert mean == pytest.approx(np.mean(OFF), abs=0.05)
    wanted = bootstrap_interval(OFF, repeats=10_000)
    assert (low, high) == pytest.approx(wanted, abs=0.05)
    draws = np.random.default_rng(1).choice(OFF, (10_000, 5)).mean(axis=1)
    plain_low, plain_high = np.percentile(draws, (2.5, 97.5))
    assert low < plain_low - 0.5
    assert high > plain_high + 0.5
    assert size.startswith(f"{np.abs(OFF).mean():.1f} (")


def test_a_patient_without_a_figure_is_left_out_of_it_alone():
    rows = [row(off) for off in OFF[:2]] + [row(OFF[2], ejection=None)]
    assert errors(rows, EDV).tolist() == list(OFF[:3])
    assert cells_of(tables(rows), EJECTION)[1:3] == ["2", "points"]


def test_one_patient_has_no_interval():
    assert cells_of(tables([row(-4.0)]), EDV)[3:] == ["-4.0", "4.0"]


def test_a_folder_without_folds_is_one_sentence(tmp_path, capsys):
    arguments = ["--data", str(tmp_path), "--output", str(tmp_path), "--folds", str(tmp_path)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "--folds" in said
    assert said.count("\n") == 1


def test_each_fold_measures_the_people_that_its_model_has_not_seen(tmp_path, monkeypatch):
    for number, person in ((1, "patient001"), (2, "patient002")):
        fold = tmp_path / f"folds/fold{number}"
        fold.mkdir(parents=True)
        rows = f"case,dice_wall\n{person}_frame01,0.9\n{person}_frame09,0.8\n"
        (fold / "test.csv").write_text(rows, encoding="utf-8")
    asked = []

    def row(data, patient, model, progress):
        asked.append((patient, model.name))
        return {"patient": patient}

    monkeypatch.setattr(heart_figures, "_row", row)
    monkeypatch.setattr(
        heart_figures,
        "load_model",
        lambda folder, device: SimpleNamespace(name=folder.parent.name, sha256=str(folder)),
    )
    found = heart_figures.run_folds(tmp_path, tmp_path / "out", tmp_path / "folds")
    assert asked == [("patient001", "fold1"), ("patient002", "fold2")]
    assert [[each["patient"] for each in rows] for rows in found] == [
        ["patient001"],
        ["patient002"],
    ]
