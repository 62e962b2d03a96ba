"""The study at toy size, and its page."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.studies.nodules import __main__ as command
from MedLLMSegLib.studies.nodules import lung_windows
from MedLLMSegLib.studies.nodules import study as nodules_study
from MedLLMSegLib.studies.nodules.earlier_weights import take_earlier
from MedLLMSegLib.studies.nodules.page import PAGE, RESULTS, write_page
from MedLLMSegLib.studies.nodules.pictures import CURVES, REAL
from MedLLMSegLib.studies.nodules.shapes import HELD_BACK

DOCS = Path(__file__).parents[3] / "docs"
DATA = Path(__file__).parents[4] / "shared" / "data"


def test_the_page_is_made_from_the_stored_results(tmp_path):
    for picture in (CURVES, REAL):
        (tmp_path / picture).parent.mkdir(exist_ok=True)
        shutil.copyfile(DOCS / picture, tmp_path / picture)
    page = write_page(DOCS / RESULTS, tmp_path).read_text(encoding="utf-8")
    assert page == (DOCS / PAGE).read_text(encoding="utf-8")


def test_no_shape_of_the_two_patients_and_none_of_the_training_was_tested():
    whole = json.loads((DOCS / RESULTS).read_text(encoding="utf-8"))
    for name, run in whole["runs"].items():
        fold = name.split("-")[1]
        assert not set(run["scans"]) & set(whole["settings"]["folds"][fold])
        patients = {row["patient"] for scan in run["scans"].values() for row in scan["nodules"]}
        assert not patients & set(HELD_BACK)
        assert all(int(patient[-1]) >= 7 for patient in patients)


def test_both_arms_are_tested_on_the_same_nodules():
    runs = json.loads((DOCS / RESULTS).read_text(encoding="utf-8"))["runs"]
    for fold in ("0", "1"):
        for name, scan in runs[f"network-{fold}-0"]["scans"].items():
            other = runs[f"blobs-{fold}-0"]["scans"][name]
            keys = ("nodule", "copy", "voxels")
            same = [[row[key] for key in keys] for row in scan["nodules"]]
            assert same == [[row[key] for key in keys] for row in other["nodules"]]


def test_a_folder_without_the_data_is_refused(tmp_path, capsys):
    options = ["--data", str(tmp_path), "--output", str(tmp_path / "o"), "--docs", str(tmp_path)]
    assert command.main(options) == 2
    assert "lung_ct" in capsys.readouterr().err


def test_weights_of_an_earlier_output_are_taken_only_from_the_same_training(tmp_path):
    earlier, now = tmp_path / "earlier", tmp_path / "now" / "network-0-0"
    with pytest.raises(UserError, match="no finished training"):
        take_earlier(earlier, {"steps": 5}, now)
    (earlier / "network-0-0").mkdir(parents=True)
    (earlier / "settings.json").write_text('{"steps": 5, "copies": 1}')
    (earlier / "network-0-0" / "best.pt").write_bytes(b"weights")
    result = {"val_dice": 0.5, "training_seconds": 9, "parameters": 7, "scans": {"old": 1}}
    (earlier / "network-0-0" / "result.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match="other settings \\(steps\\)"):
        take_earlier(earlier, {"steps": 6, "copies": 1}, now)
    assert not now.exists()
    taken = take_earlier(earlier, {"steps": 5, "copies": 3, "window_step": 16}, now)
    assert taken == {"val_dice": 0.5, "training_seconds": 9, "parameters": 7}
    assert (now / "best.pt").read_bytes() == b"weights"


@pytest.mark.slow
def test_a_fold_of_both_arms_and_its_page(tmp_path, monkeypatch):
    if not (DATA / "lung_ct").is_dir():
        pytest.skip(f'the scans of "{DATA}/lung_ct" are not here')
    monkeypatch.setattr(lung_windows, "STEP", lung_windows.WINDOW)  # an eighth of the windows
    study = nodules_study.plan(DATA, tmp_path / "runs", steps=2, copies=1)
    study.each = 1
    study.train = replace(study.train, windows=2)
    results = nodules_study.StudyResults(tmp_path / RESULTS)
    running = study.study(results)
    assert len(running.planned()) == 4
    assert running.run("*-1-0") == ["network-1-0", "blobs-1-0"]
    assert set(results.runs["blobs-1-0"]["scans"]) == {"LIDC-IDRI-0001", "Lung_Dx-A0001"}
    assert running.run("*-1-0") == []  # a stored result is not made again
    page = write_page(results.path, tmp_path).read_text(encoding="utf-8")
    assert "LIDC-IDRI-0001" in page
    assert "Mean recall" not in page  # one fold is missing
