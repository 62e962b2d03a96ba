"""`evaluate` with a stand-in for the model, on folders whose right answers are known."""

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.evaluation.evaluate_segmenter import EvaluationOptions, evaluate
from MedLLMSegLib.evaluation.scores import read_table
from MedLLMSegLib.evaluation.summary_table import summary_table
from MedLLMSegLib.io.volume_files import load_volume, save_segmentation, save_volume
from MedLLMSegLib.metrics.overlap import METRICS

CASES = ["hippocampus_001", "hippocampus_002", "hippocampus_003", "hippocampus_004"]


def add_case(folder, case, lateral=False, labels=None, moved_mm=0.0):
    """An image whose voxels are 10 times the stand-in's answer, and a truth. The answer is right
    except where asked.
    """
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


@pytest.fixture(autouse=True)
def without_matplotlib(monkeypatch, request):
    """Pictures take longer than all the rest, and must not be needed; the first test and
    test_box_plot.py look at them.
    """
    if request.node.name != "test_the_table_and_the_summary":
        monkeypatch.setattr(
            "MedLLMSegLib.evaluation.evaluate_segmenter.find_spec", lambda name: None
        )


def perfect(volume, model, device):
    labels = np.rint(volume.array / 10).astype(np.uint8)
    return Segmentation(
        volume.with_array(labels),
        hippocampus_structures(lateral=labels.max() > 2),
        model="stand-in",
    )


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
    lines = [line.split(",") for line in output.read_text().splitlines()]
    assert lines[0] == [
        "case",
        *(f"{metric}_{key}" for metric in METRICS for key in ("anterior", "posterior")),
    ]
    assert [line[:3] for line in lines] == [
        ["case", "dice_anterior", "dice_posterior"],
        ["hippocampus_001", "1.000000", "1.000000"],
        ["hippocampus_002", "1.000000", "0.666667"],
        ["hippocampus_003", "0.000000", "0.000000"],
        ["hippocampus_004", "1.000000", "1.000000"],
    ]
    assert summary["structures"]["anterior"]["mean"] == pytest.approx(0.75)
    posterior = [1, 2 / 3, 0, 1]
    assert summary["structures"]["posterior"]["mean"] == pytest.approx(np.mean(posterior))
    assert summary["structures"]["posterior"]["sd"] == pytest.approx(np.std(posterior, ddof=1))
    cases = [1, 5 / 6, 0, 1]
    assert summary["mean"]["mean"] == pytest.approx(np.mean(cases))
    assert summary["mean"]["n"] == 4
    # 1 and 2 are one head, 3 and 4 the other
    assert summary["heads"]["n"] == 2
    assert summary["heads"]["sd"] == pytest.approx(np.std([11 / 12, 0.5], ddof=1))
    assert summary["failed"] == {"hippocampus_003": "No hippocampus was found."}
    assert summary["model"] == "stand-in"
    written = json.loads((tmp_path / "out" / "dice.summary.json").read_text())
    assert written["mean"]["mean"] == pytest.approx(summary["mean"]["mean"])
    assert sorted(p.name for p in output.parent.iterdir()) == [
        "dice.csv",
        "dice.png",
        "dice.summary.json",
    ]
    screen = summary_table(summary)
    assert "0.750" in screen
    assert "hippocampus_003: No hippocampus was found." in screen
    assert "4 cases of 2 heads or patients" in screen


def test_every_metric_at_native_resolution(data, tmp_path):
    """Voxels of 1 x 2 x 3 mm in a grid of 8 x 6 x 5 (6 mm3 each); the worked answers stand in
    the comments.
    """

    def half(volume, model, device):
        result = perfect(volume, model, device)
        if volume.name == "hippocampus_002":
            result.labels.array[1, 1, 1:3] = (
                0  # the truth is a row of 4 voxels, 1 mm apart; the answer its last two
            )
        if volume.name == "hippocampus_003":
            raise UserError("No hippocampus was found.")
        return result

    summary = evaluate("m", data, tmp_path / "d.csv", segment=half)
    table = read_table(tmp_path / "d.csv")
    found = {metric: table["hippocampus_002"][f"{metric}_posterior"] for metric in METRICS}
    expected = {
        "dice": 2 / 3,
        "jaccard": 0.5,
        "precision": 1,
        "sensitivity": 0.5,
        "accuracy": 1 - 2 / 240,
        "hd95_mm": np.percentile(
            [2, 1, 0, 0], 95
        ),  # from the truth's voxels to the answer's; the other way all are 0
        "assd_mm": 3 / 6,
        "nsd_1mm": 5 / 6,
        "volume_difference_ml": -2 * 0.006,
    }
    assert found == {metric: pytest.approx(value, abs=1e-6) for metric, value in expected.items()}
    diagonal = np.sqrt(8**2 + 12**2 + 15**2)
    failed = {metric: table["hippocampus_003"][f"{metric}_posterior"] for metric in METRICS}
    assert failed == dict.fromkeys(METRICS, 0) | {
        "hd95_mm": pytest.approx(diagonal),
        "assd_mm": pytest.approx(diagonal),
        "volume_difference_ml": pytest.approx(-0.024),
    }
    hd95 = [0, expected["hd95_mm"], diagonal, 0]
    assert summary["metrics"]["hd95_mm"]["posterior"]["mean"] == pytest.approx(np.mean(hd95))
    assert summary["group_means"]["hd95_mm"]["n"] == 2
    assert summary["means"]["hd95_mm"]["n"] == 4
    assert summary["metrics"]["dice"] == summary["structures"]
    assert summary["means"]["dice"] == summary["mean"]
    assert summary["group_means"]["dice"] == summary["heads"]
    assert all(each["n"] == 2 for each in summary["group_metrics"]["hd95_mm"].values())
    assert summary["charged"] == {"anterior": 1, "posterior": 1}
    assert summary["group_of"]["hippocampus_004"] == "hippocampus head 2"
    assert summary["groups"] == 2


def test_the_rule_for_empty_structures_is_printed_and_written(data, tmp_path):
    """Case 1 has no posterior part and the answer has none; case 2 has none and the answer does;
    case 3 the other way.
    """
    only = np.zeros((5, 6, 8), np.uint8)
    only[1, 0, 1:5] = 1
    for case in CASES[:2]:
        add_case(data, case, labels=only)

    def answer(volume, model, device):
        result = perfect(volume, model, device)
        if volume.name == "hippocampus_002":
            result.labels.array[1, 1, 1:5] = 2
        if volume.name == "hippocampus_003":
            result.labels.array[result.labels.array == 2] = 0
        return result

    summary = evaluate("m", data, tmp_path / "d.csv", segment=answer)
    table = read_table(tmp_path / "d.csv")
    assert all(math.isnan(table[CASES[0]][f"{metric}_posterior"]) for metric in METRICS)
    for case in CASES[1:3]:
        assert table[case]["dice_posterior"] == table[case]["nsd_1mm_posterior"] == 0
        assert table[case]["hd95_mm_posterior"] == pytest.approx(np.sqrt(64 + 144 + 225))
        assert table[case]["accuracy_posterior"] == pytest.approx(1 - 4 / 240, abs=1e-6)
    assert [table[c]["volume_difference_ml_posterior"] for c in CASES[1:3]] == [0.024, -0.024]
    assert summary["structures"]["posterior"]["n"] == 3
    assert summary["structures"]["posterior"]["mean"] == pytest.approx(1 / 3)
    screen = summary_table(summary)
    assert "neither label map has is left out" in screen
    assert "neither label map has is left out" in summary["rule"]
    assert "only one label map has it: posterior in 2 of 4 cases" in screen
    assert json.loads((tmp_path / "d.summary.json").read_text())["charged"] == {"posterior": 2}


def sure(volume, model, device, probabilities=False, uncertainty=False, augment=0):
    """The right answer, said with 90 %; one voxel of the anterior part is wrongly called posterior,
    with 60 %.

    With more views the wrong voxel is as sure as the others.
    """
    result = perfect(volume, model, device)
    wrong = (1, 0, 1)
    result.labels.array[wrong] = 2
    maps = np.zeros((len(result.structures), *volume.array.shape), np.float32)
    for n, s in enumerate(result.structures):
        maps[n][result.labels.array == s.label] = 0.9
    maps[1][wrong] = 0.9 if augment else 0.6
    unsure = np.where(result.labels.array > 0, 1 - maps.max(0), 0)
    return replace(
        result,
        probabilities=volume.with_array(maps) if probabilities else None,
        uncertainty=volume.with_array(unsure) if uncertainty else None,
    )


def test_calibration_on_demand(data, tmp_path):
    plain = evaluate("m", data, tmp_path / "d.csv", segment=sure)
    assert "calibration" not in plain
    assert "ece" not in (tmp_path / "d.csv").read_text()
    summary = evaluate(
        "m", data, tmp_path / "d.csv", options=EvaluationOptions(calibration=True), segment=sure
    )
    header = (tmp_path / "d.csv").read_text().splitlines()[0]
    assert header.endswith("volume_difference_ml_posterior,ece,risk_coverage,risk_coverage_random")
    # 240 voxels lie within 5 mm of the rows or not; background is said with 100 % and right
    found = summary["calibration"]
    near = 1 / found["risk_coverage_random"]  # one error among so many voxels
    assert near == pytest.approx(round(near))
    assert 8 < near < 240
    assert found["ece"] == pytest.approx((7 * 0.1 + 0.6) / near, rel=1e-4)
    assert found["risk_coverage"] == pytest.approx(1 / near**2, rel=1e-4)  # the error comes last
    assert found["ece"] == pytest.approx(summary["means"]["ece"]["mean"])  # all cases are alike
    assert "Calibration error of all cases' voxels together: 0.0" in summary_table(summary)
    assert json.loads((tmp_path / "d.summary.json").read_text())["calibration"]["bins"] == 15
    views = evaluate(
        "m",
        data,
        tmp_path / "d.csv",
        options=EvaluationOptions(calibration=True, augment=3),
        segment=sure,
    )
    assert views["augment"] == 3
    assert views["calibration"]["risk_coverage"] > found["risk_coverage"]
    with pytest.raises(UserError, match="-1 views"):
        EvaluationOptions(augment=-1)


def test_the_precision_that_the_network_ran_in_is_told(data, tmp_path):
    def in_bf16(volume, model, device):
        return replace(perfect(volume, model, device), precision="bf16")

    summary = evaluate("m", data, tmp_path / "d.csv", segment=in_bf16)
    assert json.loads((tmp_path / "d.summary.json").read_text())["precision"] == ["bf16"]
    assert "The network ran in bf16." in summary_table(summary)
    unknown = evaluate("m", data, tmp_path / "d.csv", segment=perfect)
    assert unknown["precision"] == []
    assert "The network ran" not in summary_table(unknown)


def test_any_source_of_cases(data, tmp_path):
    """A CSV whose groups say that all four crops are one patient, and whose split leaves one of
    them out.
    """
    lines = ["image,label,group,split"] + [
        f"data/imagesTr/{c}.nii.gz,data/labelsTr/{c}.nii.gz,patient"
        f" A,{'test' if c != CASES[1] else 'train'}"
        for c in CASES
    ]
    source = tmp_path / "cases.csv"
    source.write_text("\n".join(lines).replace("patient A,train", "patient B,train"))
    summary = evaluate("m", source, tmp_path / "d.csv", segment=perfect)
    # no interval from one
    assert summary["cases"] == 3
    assert summary["groups"] == 1
    assert math.isnan(summary["mean"]["low"])
    assert set(summary["group_of"].values()) == {"patient A"}
    assert list(read_table(tmp_path / "d.csv")) == [CASES[0], CASES[2], CASES[3]]
    evaluate("m", source, tmp_path / "d.csv", [CASES[1]], segment=perfect)
    assert list(read_table(tmp_path / "d.csv")) == [CASES[1]]
    with pytest.raises(UserError, match='no case "head_9" in'):
        evaluate("m", source, tmp_path / "d.csv", ["head_9"], segment=perfect)


def test_names_decide_where_the_source_has_the_models(data, tmp_path):
    """dataset.json numbers the parts the other way round."""
    for case in CASES:
        labels = np.zeros((5, 6, 8), np.uint8)
        labels[1, 0, 1:5], labels[1, 1, 1:5] = 2, 1
        add_case(data, case)  # the image shows 1 and 2 as the model has them
        save_volume(
            Volume(labels, np.diag([1.0, 2.0, 3.0, 1.0])), data / "labelsTr" / f"{case}.nii.gz"
        )
    wrong = evaluate("m", data, tmp_path / "d.csv", segment=perfect)
    assert wrong["mean"]["mean"] == 0
    (data / "dataset.json").write_text(
        '{"labels": {"0": "background", "1": "Posterior", "2": "Anterior"}}'
    )
    assert evaluate("m", data, tmp_path / "d.csv", segment=perfect)["mean"]["mean"] == 1
    (data / "dataset.json").write_text(
        '{"labels": {"0": "background", "1": "Hilus", "2": "Anterior"}}'
    )
    with pytest.raises(UserError, match=r"has the labels \[1\] \(Hilus\), and the model knows 1 "):
        evaluate("m", data, tmp_path / "d.csv", segment=perfect)
    (data / "dataset.json").write_text('{"labels": {"0": "background", "1": "L1", "2": "L2"}}')
    assert (
        evaluate("m", data, tmp_path / "d.csv", segment=perfect)["mean"]["mean"] == 0
    )  # strange names: values decide


def test_crops_and_heads_in_one_folder(data, tmp_path):
    add_case(data, "head_1", lateral=True)
    one_sided = np.zeros((5, 6, 8), np.uint8)
    one_sided[1, 2, 1:5], one_sided[1, 3, 1:5] = 3, 4  # right side only
    add_case(data, "head_2", labels=one_sided)
    evaluate(
        "m", data, tmp_path / "d.csv", ["hippocampus_001", "head_1", "head_2"], segment=perfect
    )
    table = {r["case"]: r for r in rows(tmp_path / "d.csv")}
    assert list(table["head_1"])[:7] == [
        "case",
        "dice_anterior",
        "dice_posterior",
        "dice_left_anterior",
        "dice_left_posterior",
        "dice_right_anterior",
        "dice_right_posterior",
    ]
    assert table["hippocampus_001"]["dice_left_anterior"] == ""
    assert table["head_1"]["dice_anterior"] == ""
    assert table["head_1"]["dice_right_posterior"] == "1.000000"
    assert table["head_2"]["dice_left_anterior"] == ""
    assert table["head_2"]["dice_right_anterior"] == "1.000000"


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
    assert table["head_2"]["dice_right_anterior"] == "0.000000"
    assert table["head_2"]["dice_anterior"] == ""
    assert table["head_2"]["dice_left_anterior"] == ""  # it has no left side to miss
    assert table["hippocampus_002"]["dice_anterior"] == "0.000000"
    assert table["hippocampus_002"]["dice_left_anterior"] == ""


def test_the_listed_cases_are_measured_in_their_order(data, tmp_path):
    listed = tmp_path / "cases.txt"
    listed.write_text("hippocampus_002\n\nhippocampus_001\n")
    evaluate("m", data, tmp_path / "d.csv", cases=listed, segment=perfect)
    assert [r["case"] for r in rows(tmp_path / "d.csv")] == ["hippocampus_002", "hippocampus_001"]


@pytest.mark.parametrize(
    "harm, sentence",
    [
        (
            lambda data: (data / "labelsTr" / "hippocampus_004.nii.gz").unlink(),
            '"hippocampus_004" has no file in',
        ),
        (
            lambda data: add_case(data, "hippocampus_002", moved_mm=0.5),
            "is shifted by up to 0.5 mm from its image",
        ),
        (
            lambda data: save_volume(
                Volume(np.zeros((5, 6, 9), np.uint8), np.diag([1.0, 2, 3, 1])),
                data / "labelsTr" / "hippocampus_002.nii.gz",
            ),
            "9 x 6 x 5 voxels and its image 8 x 6 x 5",
        ),
        (
            lambda data: save_volume(
                Volume(np.full((5, 6, 8), 17, np.uint8), np.diag([1.0, 2, 3, 1])),
                data / "labelsTr" / "hippocampus_002.nii.gz",
            ),
            r"has the labels \[17\]",
        ),
        (
            lambda data: save_volume(
                Volume(np.full((5, 6, 8), 0.5, np.float32), np.diag([1.0, 2, 3, 1])),
                data / "labelsTr" / "hippocampus_002.nii.gz",
            ),
            "not whole numbers",
        ),
        (lambda data: (data / "splits.json").write_text('{"train": []}'), 'no list "test"'),
        (lambda data: (data / "splits.json").write_text('{"test": []}'), "There is no case"),
        (lambda data: (data / "labelsTr").rename(data / "labels"), "no folder labelsTr"),
    ],
)
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


def test_a_strange_label_in_the_last_case_is_told_before_any_work(data, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("work was done that would be lost")

    monkeypatch.setattr("MedLLMSegLib.segmentation.pipeline.segment", never)
    add_case(data, CASES[-1], labels=np.full((5, 6, 8), 17, np.uint8))
    with pytest.raises(UserError, match=rf'"{CASES[-1]}" has the labels \[17\]'):
        evaluate("hippocampus-t1", data, tmp_path / "d.csv", CASES)


def test_a_place_that_cannot_be_written_is_told_before_any_work(data, tmp_path):
    def never(*args, **kwargs):
        raise AssertionError("work was done for nothing")

    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="taken"):
        evaluate("m", data, tmp_path / "taken" / "d.csv", segment=never)


def test_nothing_but_failures_is_an_error(data, tmp_path):
    def fails(volume, model, device):
        raise UserError("The model is gone.")

    with pytest.raises(UserError, match=r"None of the 4 cases.*The model is gone"):
        evaluate("m", data, tmp_path / "d.csv", segment=fails)


def test_progress_and_cancel(data, tmp_path):
    seen = []
    evaluate(
        "m", data, tmp_path / "d.csv", progress=lambda *step: seen.append(step), segment=perfect
    )
    assert [s[0] for s in seen] == [*CASES, "done"]
    assert [s[1] for s in seen] == [
        0,
        0.25,
        0.5,
        0.75,
        1,
    ]

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


def test_undefined_dice_is_null_in_json(data, tmp_path):
    only = np.zeros((5, 6, 8), np.uint8)
    only[1, 1, 1:5] = 1
    add_case(data, "one", labels=only)
    summary = evaluate("m", data, tmp_path / "d.csv", ["one"], segment=perfect)
    assert math.isnan(summary["structures"]["posterior"]["mean"])
    row = rows(tmp_path / "d.csv")[0]
    assert row["dice_anterior"] == "1.000000"
    assert row["dice_posterior"] == row["hd95_mm_posterior"] == ""
    assert (
        json.loads((tmp_path / "d.summary.json").read_text())["structures"]["posterior"]["mean"]
        is None
    )


@pytest.fixture
def installed(monkeypatch):
    """The command line with the stand-in as the model."""
    from MedLLMSegLib.segmentation import pipeline

    entry = SimpleNamespace(sha256="0" * 64, id="stand-in")
    monkeypatch.setattr(
        pipeline,
        "load_model",
        lambda name, device, precision: SimpleNamespace(
            entry=entry,
            sha256="1" * 64,
            name=name,
            anatomy="hippocampus",
            localizer=None,
            channels=(),
            precision=precision,
            precision_why="As the test said.",
            structures_for=lambda **is_lateral: hippocampus_structures(lateral=False),
        ),
    )
    monkeypatch.setattr(
        pipeline,
        "segment",
        lambda volume, model, **wanted: replace(
            sure(volume, model, "cpu", **wanted), precision=model.precision
        ),
    )


def test_the_command_line(data, tmp_path, installed, capsys):
    (tmp_path / "cases.txt").write_text("hippocampus_001\nhippocampus_003\n")
    output = tmp_path / "new folder" / "scores.csv"
    assert (
        main(
            [
                "evaluate",
                "--data",
                str(data),
                "--cases",
                str(tmp_path / "cases.txt"),
                "-o",
                str(output),
                "--calibration",
                "--augment",
                "1",
                "--precision",
                "bf16",
            ]
        )
        == 0
    )
    screen = capsys.readouterr().out
    assert "HD95 (mm)" in screen
    assert "2 cases of 2 heads or patients" in screen
    assert "Risk-coverage area" in screen
    assert "The network ran in bf16." in screen
    assert sorted(p.name for p in output.parent.iterdir()) == ["scores.csv", "scores.summary.json"]
    summary = json.loads(output.with_suffix(".summary.json").read_text())
    assert summary["weights_sha256"] == "0" * 64
    assert summary["measured_model"] == "1" * 64
    assert set(summary["marks"]) == {"hippocampus_001", "hippocampus_003"}
    assert (summary["precision"], summary["precision_why"]) == (["bf16"], "As the test said.")
    assert list(read_table(output)) == ["hippocampus_001", "hippocampus_003"]
    assert main(["evaluate", "--compare", str(output), str(output.with_name("none.csv"))]) == 2
    assert main(["evaluate", "--data", str(data), "-o", str(output), "--augment", "-1"]) == 2
    assert "-1 views" in capsys.readouterr().err


def test_slicers_segmentations_are_known_by_their_names(data, tmp_path, installed, capsys):
    """Segments named as the model names them, stored in another order; and one that it does not
    know.
    """
    folder = tmp_path / "slicer"
    image = load_volume(data / "imagesTr" / f"{CASES[0]}.nii.gz")
    truth = np.rint(image.array / 10).astype(np.uint8)
    anterior, posterior = hippocampus_structures(lateral=False)
    swapped = (replace(posterior, label=1), replace(anterior, label=2))
    labels = Volume(np.choose(truth, [0, 2, 1]).astype(np.uint8), image.ijk_to_ras)
    folder.mkdir()
    for name in ("a", "b"):
        save_volume(image, folder / f"{name}.nii.gz")
        save_segmentation(Segmentation(labels, swapped), folder / f"{name}.seg.nrrd")
    assert main(["evaluate", "--data", str(folder), "-o", str(tmp_path / "d.csv")]) == 0
    assert read_table(tmp_path / "d.csv")["a"]["dice_posterior"] == pytest.approx(
        1, abs=0.2
    )  # all but the wrong voxel
    strange = (replace(posterior, label=1, name="Tumour"), replace(anterior, label=2, name="Cyst"))
    for name in ("a", "b"):
        save_segmentation(Segmentation(labels, strange), folder / f"{name}.seg.nrrd")
    assert main(["evaluate", "--data", str(folder), "-o", str(tmp_path / "d.csv")]) == 2
    assert "(Tumour, Cyst), and the model knows 1 Hippocampus (anterior)" in capsys.readouterr().err
