"""The commands: train on a table, evaluate, map the features, diagnose; and what is wrong is
said in one sentence.
"""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.training.classifier.classifier_session import train_classifier
from MedLLMSegLib.training.classifier.classify_request import ClassifyRequest


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """40 pictures of 20 patients: a bright blob for "ill"; AP views are brighter on one side;
    stated splits.
    """
    folder, rng = tmp_path_factory.mktemp("xrays"), np.random.default_rng(0)
    (folder / "images").mkdir()
    rows, splits = [], {"train": [], "val": [], "test": []}
    for n in range(48):
        ill, view = n % 2, "AP" if n % 3 else "PA"
        image = rng.normal(90, 20, (64, 64))
        image[20:44, 20:44] += 70 * ill
        image[:, :20] += 60 * (view == "AP")
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"images/{n:02d}.png")
        rows.append([f"{n:02d}.png", "ill" if ill else "normal", n // 2, view, 20 + n, "FM"[n % 2]])
        splits["train" if n < 24 else "val" if n < 36 else "test"].append(f"{n:02d}.png")
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([["file", "cls", "patient", "view", "age", "sex"], *rows])
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder


SMALL = [
    "--task",
    "classify",
    "--encoder",
    "cnn",
    "--size",
    "32",
    "--epochs",
    "4",
    "--lr",
    "0.003",
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "linear"
    assert (
        main(["train", "--data", str(data), "--output", str(output), "--kind", "linear", *SMALL])
        == 0
    )
    return output


def csv_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_train_makes_a_bundle_that_knows_its_threshold(run, capsys):
    model = load_classifier(run / "bundle", "cpu")
    assert model.classes == ("normal", "ill")
    assert 0 <= model.threshold <= 1
    assert model.temperature > 0
    assert model.typical is not None
    metadata = json.loads((run / "bundle/configs/metadata.json").read_text())
    assert metadata["task"] == "classification"
    assert metadata["chosen"]["trained_on"] == 24
    assert metadata["chosen"]["chosen_on"] == 12
    assert (run / "curve.png").is_file()
    history = json.loads((run / "history.json").read_text())
    assert sum("val_auc" in row for row in history) == 4


def test_evaluate_writes_a_table_a_summary_and_pictures(run, data, tmp_path, capsys):
    assert (
        main(
            [
                "evaluate",
                "--model",
                str(run / "bundle"),
                "--data",
                str(data),
                "--output",
                str(tmp_path / "test.csv"),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    rows = csv_rows(tmp_path / "test.csv")
    assert len(rows) == 12
    assert set(rows[0]) == {
        "case",
        "group",
        "class",
        "answer",
        "probability_normal",
        "probability_ill",
        "view",
        "age",
        "sex",
    }
    assert all(
        abs(float(r["probability_normal"]) + float(r["probability_ill"]) - 1) < 1e-4 for r in rows
    )
    summary = json.loads((tmp_path / "test.summary.json").read_text())
    right = np.mean([r["class"] == r["answer"] for r in rows])
    assert summary["figures"]["accuracy"]["value"] == pytest.approx(right, abs=1e-4)
    assert summary["patients"] == 6
    assert summary["figures"]["auc"]["value"] > 0.7
    assert np.sum(summary["confusion"]) == 12
    assert {r["column"] for r in summary["subgroups"]} == {"view", "age", "sex"}
    assert "guessing from the view alone is right in" in printed
    assert "not a medical device" in printed
    for name in ("test.roc.png", "test.confusion.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_the_card_takes_the_summary(run, data, tmp_path):
    from MedLLMSegLib.diagnosis.classifier_bundle import update_classifier
    from MedLLMSegLib.evaluation.evaluate_classifier import evaluate_classifier

    summary = evaluate_classifier(run / "bundle", data, tmp_path / "t.csv", device="cpu")
    card = (update_classifier(run / "bundle", summary) / "docs/README.md").read_text()
    assert f"{summary['figures']['auc']['value']:.3f}" in card
    assert "Guessing from view alone" in card


def test_a_list_of_cases(run, data, tmp_path):
    (tmp_path / "list.txt").write_text("00.png\n01.png\n")
    evaluate = [
        "evaluate",
        "--model",
        str(run / "bundle"),
        "--data",
        str(data),
        "--output",
        str(tmp_path / "t.csv"),
        "--device",
        "cpu",
    ]
    assert main([*evaluate, "--cases", str(tmp_path / "list.txt")]) == 0
    assert [r["case"] for r in csv_rows(tmp_path / "t.csv")] == ["00.png", "01.png"]
    (tmp_path / "list.txt").write_text(
        "01.png\n00.png\n", encoding="utf-8-sig"
    )  # as Notepad saves it
    assert main([*evaluate, "--cases", str(tmp_path / "list.txt")]) == 0
    assert [r["case"] for r in csv_rows(tmp_path / "t.csv")] == ["01.png", "00.png"]
    (tmp_path / "list.txt").write_text("nobody.png\n")
    assert main([*evaluate, "--cases", str(tmp_path / "list.txt")]) == 2


def test_tsne_draws_a_map_and_says_what_can_be_told(run, data, tmp_path, capsys):
    assert (
        main(
            [
                "tsne",
                "--model",
                str(run / "bundle"),
                "--data",
                str(data),
                "--output",
                str(tmp_path / "map.png"),
                "--all",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    assert "class: told from the features with AUC" in capsys.readouterr().out
    rows = csv_rows(tmp_path / "map.csv")
    assert len(rows) == 48
    assert set(rows[0]) == {"case", "x", "y", "class", "view"}
    told = json.loads((tmp_path / "map.json").read_text())
    assert set(told) == {"class", "view"}
    assert told["class"]["auc"]["value"] > 0.8
    assert (tmp_path / "map.png").stat().st_size > 5000
    assert (
        main(
            [
                "tsne",
                "--model",
                str(run / "bundle"),
                "--data",
                str(data),
                "--output",
                str(tmp_path / "m.png"),
                "--by",
                "scanner",
            ]
        )
        == 2
    )


def test_diagnose_reads_the_bundle(run, data):
    from MedLLMSegLib.diagnosis.predict import diagnose

    found = diagnose(data / "images/47.png", run / "bundle", device="cpu")
    assert set(found.probabilities) == {"normal", "ill"}
    assert found.heat_map.array.shape == (
        1,
        64,
        64,
    )


def test_a_stopped_training_goes_on_and_another_is_refused(data, tmp_path):
    request = ClassifyRequest(
        str(data), str(tmp_path / "run"), kind="mlp", encoder="cnn", size=32, epochs=3
    )
    count = 0

    def stop(text, fraction):
        nonlocal count
        count += "step 3 " in text  # the second epoch's first: 24 images, 16 a batch
        if count:
            raise Cancelled

    with pytest.raises(Cancelled):
        train_classifier(request, "cpu", stop, lambda text: None)
    assert (tmp_path / "run/last.pt").exists()
    assert not (tmp_path / "run/bundle").exists()
    with pytest.raises(UserError, match='another "lr"'):
        train_classifier(
            ClassifyRequest(**{**vars(request), "lr": 0.1}), "cpu", say=lambda text: None
        )
    train_classifier(request, "cpu", say=lambda text: None)
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert [row["step"] for row in history if "val_auc" in row] == [2, 4, 6]


def test_a_training_by_time_ends_and_goes_on_with_its_own_number_of_epochs(data, tmp_path):
    request = ClassifyRequest(
        str(data), str(tmp_path / "run"), kind="linear", encoder="cnn", size=32, minutes=0.002
    )
    train_classifier(request, "cpu", say=lambda text: None)
    epochs = len(json.loads((tmp_path / "run/history.json").read_text()))
    assert epochs >= 3
    train_classifier(request, "cpu", say=lambda text: None)
    assert len(json.loads((tmp_path / "run/history.json").read_text())) == epochs


def test_fusion_reads_the_columns_that_it_is_told(data, tmp_path):
    bundle = train_classifier(
        ClassifyRequest(
            str(data),
            str(tmp_path / "run"),
            kind="fusion",
            encoder="cnn",
            size=32,
            epochs=2,
            record=("age", "sex"),
        ),
        "cpu",
        say=lambda text: None,
    )
    record = load_classifier(bundle, "cpu").config.record
    assert record.numbers == ("age",)
    assert record.categories == {"sex": ("F", "M")}
    assert record.means[0] == pytest.approx(31.5)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--kind", "cnn-lstm"], "is not a kind of classifier of images"),
        (["--encoder", "resnet"], "neither cnn, vit"),
        (["--minutes", "1"], "give one of them"),
        (["--record", "age"], "give both or neither"),
        (["--kind", "fusion", "--record", "weight"], 'no column "weight"'),
        (["--folds", "5"], "--folds is for segmentation"),
        (["--classes", "normal", "sick"], 'has the class "ill"'),
    ],
)
def test_wrong_options_are_one_sentence(data, tmp_path, capsys, options, message):
    assert (
        main(["train", "--data", str(data), "--output", str(tmp_path / "run"), *SMALL, *options])
        == 2
    )
    assert message in " ".join(capsys.readouterr().err.split())


def test_options_of_classification_need_its_task(data, tmp_path, capsys):
    assert (
        main(["train", "--data", str(data), "--output", str(tmp_path / "run"), "--tokens", "4"])
        == 2
    )
    assert "--tokens belongs to --task classify" in " ".join(capsys.readouterr().err.split())


def test_no_option_of_segmentation_is_ignored_in_silence(data, tmp_path, capsys):
    """Each option is taken by classification or refused by it; a new one has to be put down as
    one or the other.
    """
    from MedLLMSegLib.cli.main import build_parser
    from MedLLMSegLib.cli.train_brain import OWN_OPTIONS
    from MedLLMSegLib.cli.train_classifier import CLASSIFIER_OPTIONS, SEGMENTER_OPTIONS

    plain = ["train", "--data", str(data), "--output", str(tmp_path / "run"), "--task", "classify"]
    defaults = vars(build_parser().parse_args(plain))
    both = {
        "task",
        "data",
        "output",
        "name",
        "title",
        "modality",
        "licence",
        "description",
        "llm",
        "channels",
        "batch",
        "lr",
        "minutes",
        "seed",
        "device",
    }
    others = {*CLASSIFIER_OPTIONS, *SEGMENTER_OPTIONS, *OWN_OPTIONS}
    assert set(defaults) - both - others <= {
        "run",
        "command",
        "verbose",
        "quiet",
        "default_of",
    }
    assert set(SEGMENTER_OPTIONS) <= set(defaults)
    for option in (["--patience", "3"], ["--precision", "fp32"], ["--spacing", "1", "1", "1"]):
        assert main([*plain, *option]) == 2
        assert f"{option[0]} is for segmentation" in " ".join(capsys.readouterr().err.split())


def test_another_default_of_segmentation_is_no_option_of_the_users():
    import argparse

    from MedLLMSegLib.cli import train, train_classifier

    parser = argparse.ArgumentParser()
    train.add_parser(parser.add_subparsers())
    command = parser._subparsers._group_actions[0].choices["train"]
    command.set_defaults(optimiser="adamw", patience=3)
    plain = ["train", "--data", "x", "--output", "y", "--task", "classify"]
    train_classifier.check_task(parser.parse_args(plain))
    with pytest.raises(UserError, match="--optimiser is for segmentation"):
        train_classifier.check_task(parser.parse_args([*plain, "--optimiser", "muon"]))
