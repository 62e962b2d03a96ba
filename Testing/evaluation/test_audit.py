"""A classifier in groups: rates, intervals over patients, and how many comparisons were made."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from MedLLMSegLib.cli.main import main
from MedLLMSegLib.data.case_digest import picture_digest
from MedLLMSegLib.evaluation.audit import audit, audit_csv
from MedLLMSegLib.io.radiograph import load_radiograph
from MedLLMSegLib.registry.seen_cases import Marks, SeenCases
from Testing.helpers.tiny_classifier import write_tiny


def cases(count=400, seed=0):
    """Half of them women; positive every second one; women's positives are often missed."""
    rng = np.random.default_rng(seed)
    sex = np.where(np.arange(count) % 4 < 2, "F", "M")
    truth = np.arange(count) % 2 == 1
    missed = truth & (rng.random(count) < np.where(sex == "F", 0.5, 0.05))
    return truth, truth & ~missed, sex.tolist(), [f"p{n // 2}" for n in range(count)]


def rate(found, group, name):
    (row,) = [row for row in found.rates if (row.group, row.rate) == (group, name)]
    return row


def test_a_group_whose_positives_are_missed_is_named_and_no_other_rate_of_its():
    truth, decision, sex, patients = cases()
    found = audit(truth, decision, patients, {"sex": sex})
    women = rate(found, "F", "sensitivity")
    known = truth & (np.array(sex) == "F")
    assert women.value.value == pytest.approx(decision[known].mean())
    assert (women.n, women.patients) == (known.sum(), len(set(np.array(patients)[known])))
    assert women.differs
    assert women.difference.value == pytest.approx(
        women.value.value - rate(found, "M", "sensitivity").value.value
    )
    assert found.gaps["sex"]["sensitivity"] == pytest.approx(-women.difference.value)
    assert not rate(found, "F", "specificity").differs


def test_without_any_difference_hardly_an_audit_finds_one():
    """Eight comparisons each, all of them together in 95 of 100 audits."""
    alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth, decision = rng.random((2, 120)) < 0.5
        sex = np.where(rng.random(120) < 0.5, "F", "M").tolist()
        found = audit(truth, decision, [str(n) for n in range(120)], {"sex": sex}, repeats=4000)
        assert found.comparisons == 8
        assert found.level == pytest.approx(1 - 0.05 / 8)
        alarms += any(row.differs for row in found.rates)
    assert alarms <= 3


def test_images_of_one_patient_are_drawn_together():
    truth, decision, sex, _patients = cases(40)
    truth, decision, sex = np.tile(truth, 8), np.tile(decision, 8), sex * 8
    alone = audit(truth, decision, [str(n) for n in range(320)], {"sex": sex})
    eights = audit(truth, decision, [str(n % 40) for n in range(320)], {"sex": sex})
    widths = [
        np.ptp([row.value.low, row.value.high])
        for row in (rate(alone, "F", "sensitivity"), rate(eights, "F", "sensitivity"))
    ]
    assert widths[1] > 2 * widths[0]


def test_a_rate_without_cases_is_none_and_too_few_are_not_compared():
    truth, decision, sex, patients = cases(80)
    sex[:6] = ["X"] * 6  # three positives
    found = audit(truth, decision, patients, {"sex": sex})
    few = rate(found, "X", "sensitivity")
    assert few.n == 3
    assert np.isnan(few.difference.value)
    none = audit(truth, decision, patients, {"sex": np.where(truth, "F", "M").tolist()})
    assert rate(none, "M", "sensitivity").n == 0
    assert np.isnan(rate(none, "M", "sensitivity").value.value)
    assert "sex,M,sensitivity,0,0,,," in audit_csv(none)


def test_without_splits_all_images_are_judged_and_those_seen_in_training_are_counted(
    tmp_path, capsys
):
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    folder.mkdir()
    rows, seen = ["image,class,patient,sex"], []
    for n in range(12):
        Image.fromarray(rng.integers(0, 255, (70, 60)).astype(np.uint8)).save(folder / f"{n}.png")
        rows.append(f"{n}.png,{('no finding', 'pneumonia')[n % 2]},p{n},{'FM'[n // 2 % 2]}")
        seen.append(picture_digest(load_radiograph(folder / f"{n}.png").array))
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    stated = SeenCases(train=Marks(frozenset(seen[:3])), known=True).to_dict()
    bundle, output = write_tiny(tmp_path / "tiny", seen=stated), tmp_path / "audit.csv"
    given = ["audit", "--model", str(bundle), "--data", str(folder), "--output", str(output)]
    assert main([*given, "--by", "sex", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "on 12 images of 12 patients (all images), threshold 0.40" in shown
    assert "These are 12 images of which 3 took part in training or choosing." in shown
    assert json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))["splits"] == []


def test_the_command_writes_table_picture_and_what_it_judged_by(tmp_path, capsys):
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    folder.mkdir()
    rows = ["image,class,patient,split,sex,age"]
    for n in range(24):
        Image.fromarray(rng.integers(0, 255, (70, 60)).astype(np.uint8)).save(folder / f"{n}.png")
        name, split = ("no finding", "pneumonia")[n % 2], "test" if n < 16 else "val"
        rows.append(f"{n}.png,{name},p{n},{split},{'FM'[n // 2 % 2]},{20 + n}")
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    bundle, output = write_tiny(tmp_path / "tiny"), tmp_path / "audit.csv"
    given = ["audit", "--model", str(bundle), "--data", str(folder), "--output", str(output)]
    assert main([*given, "--by", "sex", "age", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "on 16 images of 16 patients (test), threshold 0.40" in shown
    assert "differences were looked at" in shown
    with open(output, encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["group"] for row in table} == {"F", "M", "20-39"}
    about = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert (about["threshold"], about["splits"]) == (0.4, ["test"])
    assert output.with_suffix(".png").stat().st_size > 5000
    assert main([*given, "--by", "height"]) == 2
    assert 'no column "height"' in capsys.readouterr().err
    assert main([*given, "--by", "sex", "--splits", "nowhere"]) == 2
    assert 'no split "nowhere"' in capsys.readouterr().err
