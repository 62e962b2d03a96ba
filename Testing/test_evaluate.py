"""`evaluate` with a stand-in for the model, on folders whose right answers are known."""
import csv
import json
import math

import numpy as np
import pytest

from MedLLMSegLib.anatomy import hippocampus_structures
from MedLLMSegLib.errors import Cancelled, UserError
from MedLLMSegLib.evaluate import choose_cases, evaluate, head_of, summary_table
from MedLLMSegLib.files import save_volume
from MedLLMSegLib.structures import Segmentation
from MedLLMSegLib.volume import Volume

CASES = ["hippocampus_001", "hippocampus_002", "hippocampus_003", "hippocampus_004"]


def add_case(folder, case, lateral=False, labels=None, moved_mm=0.0):
    """An image whose voxels are 10 times the stand-in's answer, and a truth. The answer is right except where asked."""
    matrix = np.diag([1.0, 2.0, 3.0, 1.0])
    truth = np.zeros((5, 6, 8), np.uint8)
    for n in range(4 if lateral else 2):
        truth[1, n, 1:5] = n + 1
    truth = truth if labels is None else labels
    save_volume(Volume(truth * np.float32(10), matrix), folder / "imagesTr" / f"{case}.nii.gz")
    matrix = matrix.copy()
    matrix[0, 3] += moved_mm
    save_volume(Volume(truth, matrix), folder / "labelsTr" / f"{case}.nii.gz")


@pytest.fixture
def data(tmp_path):
    for case in CASES:
        add_case(tmp_path / "data", case)
    return tmp_path / "data"


def perfect(volume, model, device):
    labels = np.rint(volume.array / 10).astype(np.uint8)
    return Segmentation(volume.with_array(labels), hippocampus_structures(lateral=labels.max() > 2), model="stand-in")


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_and_the_summary(data, tmp_path):
    def half(volume, model, device):
        """Case 2 loses half of its posterior part, case 3 fails."""
        result = perfect(volume, model, device)
        if volume.name == "hippocampus_002":
            result.labels.array[1, 1, 1:3] = 0  # 2 of 4 voxels: Dice 2 * 2 / (2 + 4)
        if volume.name == "hippocampus_003":
            raise UserError("No hippocampus was found.")
        return result
    output = tmp_path / "out" / "dice.csv"
    summary = evaluate("m", data, output, segment=half)
    text = output.read_text()
    assert text.splitlines() == [
        "case,dice_anterior,dice_posterior", "hippocampus_001,1.000000,1.000000", "hippocampus_002,1.000000,0.666667",
        "hippocampus_003,0.000000,0.000000", "hippocampus_004,1.000000,1.000000"]
    assert summary["structures"]["anterior"]["mean"] == pytest.approx(0.75)
    posterior = [1, 2 / 3, 0, 1]
    assert summary["structures"]["posterior"]["mean"] == pytest.approx(np.mean(posterior))
    assert summary["structures"]["posterior"]["sd"] == pytest.approx(np.std(posterior, ddof=1))
    cases = [1, 5 / 6, 0, 1]
    assert summary["mean"]["mean"] == pytest.approx(np.mean(cases)) and summary["mean"]["n"] == 4
    # 1 and 2 are one head, 3 and 4 the other
    assert summary["heads"]["n"] == 2 and summary["heads"]["sd"] == pytest.approx(np.std([11 / 12, 0.5], ddof=1))
    assert summary["failed"] == {"hippocampus_003": "No hippocampus was found."}
    assert summary["model"] == "stand-in"
    written = json.loads((tmp_path / "out" / "dice.summary.json").read_text())
    assert written["mean"]["mean"] == pytest.approx(summary["mean"]["mean"])
    assert sorted(p.name for p in output.parent.iterdir()) == ["dice.csv", "dice.summary.json"]
    screen = summary_table(summary)
    assert "0.750" in screen and "hippocampus_003: No hippocampus was found." in screen


def test_crops_and_heads_in_one_folder(data, tmp_path):
    add_case(data, "head_1", lateral=True)
    one_sided = np.zeros((5, 6, 8), np.uint8)
    one_sided[1, 2, 1:5], one_sided[1, 3, 1:5] = 3, 4  # right side only
    add_case(data, "head_2", labels=one_sided)
    evaluate("m", data, tmp_path / "d.csv", ["hippocampus_001", "head_1", "head_2"], segment=perfect)
    table = {r["case"]: r for r in rows(tmp_path / "d.csv")}
    assert list(table["head_1"]) == ["case", "dice_anterior", "dice_posterior", "dice_left_anterior",
                                     "dice_left_posterior", "dice_right_anterior", "dice_right_posterior"]
    assert table["hippocampus_001"]["dice_left_anterior"] == "" and table["head_1"]["dice_anterior"] == ""
    assert table["head_1"]["dice_right_posterior"] == "1.000000"
    assert table["head_2"]["dice_left_anterior"] == "" and table["head_2"]["dice_right_anterior"] == "1.000000"


def test_a_failed_head_is_charged_with_what_it_has(data, tmp_path):
    add_case(data, "head_1", lateral=True)
    right = np.zeros((5, 6, 8), np.uint8)
    right[1, 2, 1:5], right[1, 3, 1:5] = 3, 4
    add_case(data, "head_2", labels=right)

    def fails(volume, model, device):
        if volume.name in ("head_2", "hippocampus_002"):
            raise RuntimeError("out of memory")
        return perfect(volume, model, device)
    evaluate("m", data, tmp_path / "d.csv", ["head_1", "head_2", *CASES], segment=fails)
    table = {r["case"]: r for r in rows(tmp_path / "d.csv")}
    assert table["head_2"]["dice_right_anterior"] == "0.000000" and table["head_2"]["dice_anterior"] == ""
    assert table["head_2"]["dice_left_anterior"] == ""  # it has no left side to miss
    assert table["hippocampus_002"]["dice_anterior"] == "0.000000"
    assert table["hippocampus_002"]["dice_left_anterior"] == ""


def test_which_cases(data, tmp_path):
    assert choose_cases(data) == CASES
    (data / "labelsTr" / "._hippocampus_009.nii.gz").write_bytes(b"x")  # macOS leaves such files
    assert choose_cases(data) == CASES
    (data / "splits.json").write_text(json.dumps({"train": CASES[:2], "test": CASES[3:]}))
    assert choose_cases(data) == CASES[3:]
    listed = tmp_path / "cases.txt"
    listed.write_text("\ufeffhippocampus_002\n\n hippocampus_001 \r\nhippocampus_002\n", encoding="utf-8")
    assert choose_cases(data, listed) == ["hippocampus_002", "hippocampus_001"]  # as listed; overrides the split
    evaluate("m", data, tmp_path / "d.csv", cases=listed, segment=perfect)
    assert [r["case"] for r in rows(tmp_path / "d.csv")] == ["hippocampus_002", "hippocampus_001"]


@pytest.mark.parametrize("harm, sentence", [
    (lambda data: (data / "labelsTr" / "hippocampus_004.nii.gz").unlink(), '"hippocampus_004" has no file in'),
    (lambda data: add_case(data, "hippocampus_002", moved_mm=0.5), "lies up to 0.5 mm beside its image"),
    (lambda data: save_volume(Volume(np.zeros((5, 6, 9), np.uint8), np.diag([1., 2, 3, 1])),
                              data / "labelsTr" / "hippocampus_002.nii.gz"),
     "9 x 6 x 5 voxels and its image 8 x 6 x 5"),
    (lambda data: save_volume(Volume(np.full((5, 6, 8), 17, np.uint8), np.diag([1., 2, 3, 1])),
                              data / "labelsTr" / "hippocampus_002.nii.gz"), r"has the labels \[17\]"),
    (lambda data: save_volume(Volume(np.full((5, 6, 8), 0.5, np.float32), np.diag([1., 2, 3, 1])),
                              data / "labelsTr" / "hippocampus_002.nii.gz"), "no whole numbers"),
    (lambda data: (data / "splits.json").write_text('{"train": []}'), 'no list "test"'),
    (lambda data: (data / "splits.json").write_text('{"test": []}'), "There is no case"),
    (lambda data: (data / "labelsTr").rename(data / "labels"), "no folder labelsTr"),
])
def test_data_that_cannot_be_used_is_one_sentence(data, tmp_path, harm, sentence):
    cases = None if sentence.startswith(("no list", "There", "no folder")) else CASES
    harm(data)
    with pytest.raises(UserError, match=sentence):
        evaluate("m", data, tmp_path / "d.csv", cases, segment=perfect)
    assert not (tmp_path / "d.csv").exists()


def test_a_missing_case_is_named_before_any_work(data, tmp_path):
    def never(*args, **kwargs):
        raise AssertionError("work was done before the list was checked")
    with pytest.raises(UserError, match='"hippocampus_777"'):
        evaluate("m", data, tmp_path / "d.csv", [*CASES, "hippocampus_777"], segment=never)


def test_a_place_that_cannot_be_written_is_told_before_any_work(data, tmp_path):
    def never(*args, **kwargs):
        raise AssertionError("work was done for nothing")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="taken"):
        evaluate("m", data, tmp_path / "taken" / "d.csv", segment=never)


def test_nothing_but_failures_is_an_error(data, tmp_path):
    def fails(volume, model, device):
        raise UserError("The model is gone.")
    with pytest.raises(UserError, match="None of the 4 cases.*The model is gone"):
        evaluate("m", data, tmp_path / "d.csv", segment=fails)


def test_progress_and_cancel(data, tmp_path):
    seen = []
    evaluate("m", data, tmp_path / "d.csv", progress=lambda *step: seen.append(step), segment=perfect)
    assert [s[0] for s in seen] == [*CASES, "done"] and [s[1] for s in seen] == [0, 0.25, 0.5, 0.75, 1]

    def stop(case, fraction):
        raise Cancelled
    (tmp_path / "d.csv").unlink()
    with pytest.raises(Cancelled):
        evaluate("m", data, tmp_path / "d.csv", progress=stop, segment=perfect)

    def cancelled_inside(*args, **kwargs):
        raise Cancelled
    with pytest.raises(Cancelled):
        evaluate("m", data, tmp_path / "d.csv", segment=cancelled_inside)
    assert not (tmp_path / "d.csv").exists()


def test_heads():
    assert head_of("hippocampus_001") == head_of("hippocampus_002") != head_of("hippocampus_003")
    assert head_of("sub-01") == "sub-01" != head_of("sub-02")


def test_undefined_dice_is_null_in_json(data, tmp_path):
    only = np.zeros((5, 6, 8), np.uint8)
    only[1, 1, 1:5] = 1
    add_case(data, "one", labels=only)
    summary = evaluate("m", data, tmp_path / "d.csv", ["one"], segment=perfect)
    assert math.isnan(summary["structures"]["posterior"]["mean"])
    assert rows(tmp_path / "d.csv") == [{"case": "one", "dice_anterior": "1.000000", "dice_posterior": ""}]
    assert json.loads((tmp_path / "d.summary.json").read_text())["structures"]["posterior"]["mean"] is None
