"""Co-registered images of one patient from the command line: train, evaluate, map and diagnose
with one of them missing or not.
"""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import MedLLMSegLib
from MedLLMSegLib import UserError
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.data.image_table import ImageCase, read_classes
from MedLLMSegLib.diagnosis.input_description import RADIOGRAPHY, InputConfig
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from MedLLMSegLib.training.classifier.classifier_session import train_classifier
from MedLLMSegLib.training.classifier.classify_request import ClassifyRequest
from MedLLMSegLib.training.classifier.prepared_images import channels_input, image_examples
from Testing.helpers.dicom_writer import write_dicom

HEAD = ["image", "ct", "class", "patient", "view", "age", "split"]
TRAIN = [
    "train",
    "--task",
    "classify",
    "--kind",
    "fusion",
    "--encoder",
    "cnn",
    "--size",
    "32",
    "--device",
    "cpu",
]


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.clip(0, 255).astype(np.uint8)).save(path)


def write_table(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEAD, *rows])
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """88 patients: the PET is noise, and a bright blob in the CT is all that tells "ill". Three
    CT and one PET are missing.
    """
    folder, rng = tmp_path_factory.mktemp("pet-ct"), np.random.default_rng(0)
    rows = []
    for n in range(88):
        pet, ct = rng.normal(90, 20, (2, 40, 40))
        ct[12:28, 12:28] += 90 * (n % 2)
        save(folder / f"pet/{n:02d}.png", pet)
        save(folder / f"ct/{n:02d}.png", ct)
        rows.append(
            [
                f"pet/{n:02d}.png",
                "" if n in (3, 8, 50) else f"ct/{n:02d}.png",
                ("normal", "ill")[n % 2],
                n,
                ("AP", "PA")[n // 2 % 2],
                30 + n % 7,
                "train" if n < 48 else "val" if n < 64 else "test",
            ]
        )
    rows[5][0] = ""
    write_table(folder / "labels.csv", rows)
    write_table(
        folder / "without-ct.csv",
        [[f"pet/{n:02d}.png", "", *row[2:]] for n, row in enumerate(rows)],
    )
    write_table(
        folder / "without-pet.csv",
        [["", f"ct/{n:02d}.png", *row[2:]] for n, row in enumerate(rows)],
    )
    return folder


@pytest.fixture(scope="module")
def bundle(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "pet-ct"
    assert (
        main(
            [
                *TRAIN,
                "--data",
                str(data),
                "--channels",
                "CT",
                "--output",
                str(output),
                "--epochs",
                "10",
                "--lr",
                "0.01",
                "--batch",
                "12",
            ]
        )
        == 0
    )
    return output / "bundle"


def evaluated(bundle, table, output):
    assert (
        main(
            [
                "evaluate",
                "--model",
                str(bundle),
                "--data",
                str(table),
                "--output",
                str(output),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    return json.loads(output.with_suffix(".summary.json").read_text(encoding="utf-8"))


def test_the_bundle_knows_its_channels(bundle):
    model = load_classifier(bundle, "cpu")
    assert model.input.names == ("image", "ct")
    assert model.input.channels == {"ct": ()}
    assert model.config.encoder.channels == 2
    assert np.isfinite(
        model.typical.mean
    ).all()  # of the first channel, which one of the training cases lacks
    metadata = json.loads((bundle / "configs/metadata.json").read_text(encoding="utf-8"))
    assert metadata["modality"] == "image with ct"
    assert metadata["input"]["channels"] == {"ct": []}
    assert "image, ct; any of them may be missing" in " ".join(
        (bundle / "docs/README.md").read_text(encoding="utf-8").split()
    )


def test_what_the_second_channel_tells_is_used_and_its_absence_costs(
    bundle, data, tmp_path, capsys
):
    """The class is in the CT alone."""
    both = evaluated(bundle, data, tmp_path / "both.csv")
    without = evaluated(bundle, data / "without-ct.csv", tmp_path / "without.csv")
    alone = evaluated(bundle, data / "without-pet.csv", tmp_path / "alone.csv")
    auc = [each["figures"]["auc"]["value"] for each in (both, without, alone)]
    assert auc[0] > 0.95, auc
    assert auc[1] < 0.8, auc
    assert auc[2] > 0.9, auc
    assert both["missing"] == {"image": 0, "ct": 0}
    assert without["missing"] == {"image": 0, "ct": 24}
    assert alone["missing"]["image"] == 24
    assert "ct is missing in 24 of them" in capsys.readouterr().out
    (tmp_path / "labels.csv").write_text("image,class\na.png,ill\n", encoding="utf-8")
    assert (
        main(
            [
                "evaluate",
                "--model",
                str(bundle),
                "--data",
                str(tmp_path),
                "--output",
                str(tmp_path / "x.csv"),
            ]
        )
        == 2
    )
    assert 'has no column "ct" for that channel' in " ".join(capsys.readouterr().err.split())


def test_features_of_both_are_mapped(bundle, data, tmp_path):
    assert (
        main(
            [
                "tsne",
                "--model",
                str(bundle),
                "--data",
                str(data),
                "--output",
                str(tmp_path / "map.png"),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    assert (
        json.loads((tmp_path / "map.json").read_text(encoding="utf-8"))["class"]["auc"]["value"]
        > 0.9
    )


def run(*argv):
    return main([str(a) for a in ("diagnose", *argv, "--device", "cpu")])


def test_a_patient_is_diagnosed_with_and_without_the_second_image(bundle, data, tmp_path, capsys):
    pet, ct = data / "pet/87.png", data / "ct/87.png"
    said, chances = [], set()
    for more in ((pet, "--channel", f"ct={ct}"), (pet,), ("--channel", f"CT={ct}")):
        assert run(*more, "--model", bundle, "-o", tmp_path / f"o{len(said)}") == 0
        said.append(capsys.readouterr().out)
        again = eval(
            said[-1].split("python: ")[1].strip(), {"MedLLMSegLib": MedLLMSegLib}
        )  # what is printed can be pasted
        assert f"{again.probabilities['ill']:6.3f}" in said[-1]
        chances.add(again.probabilities["ill"])
    assert said[0].startswith(f"{pet} + ct={ct}: ill")
    assert "missing" not in said[0]
    assert "1 of the model's 2 channels are missing (ct)." in said[1]
    assert said[2].startswith(f"ct={ct}: ill")
    assert "1 of the model's 2 channels are missing (image)." in said[2]
    assert "no heat map" in said[2]
    assert f"[None, '{ct}']" in said[2]
    assert (tmp_path / "o0/87_heat.nrrd").exists()
    assert not (tmp_path / "o2/87_heat.nrrd").exists()
    assert len(chances) == 3


def test_patients_in_folders_go_by_their_names(bundle, data, tmp_path, capsys):
    for n in (80, 81, 82):
        save(tmp_path / f"pet/{n}.png", np.asarray(Image.open(data / f"pet/{n}.png")))
        if n != 82:
            save(tmp_path / f"ct/{n}.png", np.asarray(Image.open(data / f"ct/{n}.png")))
    assert (
        run(
            tmp_path / "pet",
            "--channel",
            f"ct={tmp_path / 'ct'}",
            "--model",
            bundle,
            "-o",
            tmp_path / "out",
        )
        == 0
    )
    with open(tmp_path / "out/diagnoses.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["answer"] for row in rows[:2]] == ["normal", "ill"]
    assert "(ct)" in rows[2]["notes"]
    assert "(ct)" not in rows[0]["notes"]
    assert rows[0]["image"] == f"{tmp_path / 'pet/80.png'} + ct={tmp_path / 'ct/80.png'}"
    assert rows[2]["image"] == str(tmp_path / "pet/82.png")
    save(tmp_path / "other/x.png", np.asarray(Image.open(data / "ct/80.png")))
    for argv, words in (
        ([tmp_path / "pet"], "name the others with --channel ct=FILE"),
        ([tmp_path / "pet", "--channel", f"ct={tmp_path / 'ct/80.png'}"], "is one file"),
        ([tmp_path / "pet", "--channel", f"ct={tmp_path / 'other'}"], 'holds no image called "80"'),
        ([data / "pet/87.png", "--channel", "mr=x.png"], "knows ct; correct its name"),
        ([data / "pet/87.png", "--channel", "ct"], "NAME=PATH is needed"),
        ([data / "pet/87.png", "--channel", f"ct={tmp_path / 'gone.png'}"], "There is no file"),
        ([], "No image was given"),
    ):
        capsys.readouterr()
        assert run(*argv, "--model", bundle) == 2
        error = capsys.readouterr().err.strip().removeprefix("medllmseg: ")
        assert words in error, error
        assert len(error.splitlines()) == 1, error
        assert ". " not in error, error


@pytest.mark.parametrize("record", [(), ("age",)], ids=["channels alone", "with a record"])
def test_channels_with_a_record_or_without_in_python(data, tmp_path, record):
    said = []
    request = ClassifyRequest(
        str(data),
        str(tmp_path / "run"),
        kind="fusion",
        encoder="cnn",
        size=32,
        epochs=1,
        channels=("ct",),
        record=record,
        modality="PET/CT",
    )
    found = train_classifier(request, "cpu", say=said.append)
    assert (
        "train: 48 images of 48 patients (24 normal, 24 ill, 1 without image, 2 without ct)"
        in said[0]
    )
    model = load_classifier(found, "cpu")
    assert model.config.encoder.channels == 2
    assert (model.config.record.numbers if model.config.record else ()) == record
    assert (
        json.loads((found / "configs/metadata.json").read_text(encoding="utf-8"))["modality"]
        == "PET/CT"
    )
    answer = MedLLMSegLib.diagnose(
        [data / "pet/70.png", data / "ct/70.png"],
        found,
        device="cpu",
        record={"age": 50} if record else None,
    )
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert not any("missing" in note or "state" in note for note in answer.notes)


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "name the table's columns with --record (fields) or --channels (further images)"),
        (["--channels", "mr"], 'has no column "mr" for that channel'),
        (["--channels", "ct", "ct"], 'The column "ct" of'),
        (["--channels", "image"], "is read as something else already"),
        (["--channels", "ct", "--record", "ct"], "named by --record and by --channels"),
        (["--channels", "ct", "--kind", "mlp"], "the kind is mlp; give both or neither"),
    ],
)
def test_wrong_options_are_one_sentence(data, tmp_path, capsys, options, words):
    assert (
        main(
            [
                *TRAIN,
                "--data",
                str(data),
                "--output",
                str(tmp_path / "run"),
                "--epochs",
                "1",
                *options,
            ]
        )
        == 2
    )
    error = " ".join(capsys.readouterr().err.split()).removeprefix("medllmseg: ")
    assert words in error, error
    assert ". " not in error.replace("...", ""), error


def test_a_file_that_is_not_there_is_named_with_its_row(data, tmp_path):
    rows = [
        [data / "pet/00.png", data / "ct/00.png", "normal"],
        [data / "pet/01.png", "", "ill"],
        ["", data / "ct/02.png", "ill"],
    ]
    found = read_classes(write_table(tmp_path / "a.csv", rows), channels=("ct",))
    assert [
        (case.image and case.image.name, case.channels[0] and case.channels[0].name)
        for case in found.cases
    ] == [("00.png", "00.png"), ("01.png", None), (None, "02.png")]
    for more, words in (
        (["", "gone.png", "ill"], 'Row 5 of .* names the image "gone.png" in the column "ct"'),
        (["", "", "ill"], "Row 5 of .* has no image"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            read_classes(write_table(tmp_path / "b.csv", [*rows, more]), channels=("ct",))
        assert ". " not in str(caught.value)
    with pytest.raises(
        UserError, match=r"Row 4 of .* has no image"
    ):  # as ever, where no channel was asked for
        read_classes(tmp_path / "a.csv")


def test_each_channel_is_what_its_training_images_tags_say(tmp_path):
    def case(n, first, second):
        def write(name, modality):
            pixels = np.arange(4096).reshape(64, 64).astype(np.uint16)
            return write_dicom(tmp_path / f"{n}{name}", pixels, Modality=modality)

        return ImageCase(
            str(n), write("a", first), n % 2, str(n), {}, (write("b", second) if second else None,)
        )

    found = channels_input(
        [case(0, "PT", "CT"), case(1, "PT", None), case(2, "OT", "CT")], ("ct",), False
    )
    assert found == InputConfig(
        modalities=("PT",), body_part="", views=(), channels={"ct": ("CT",)}
    )
    assert channels_input([case(3, "DX", "SC")], ("soft",), True) == InputConfig(
        "radiograph", RADIOGRAPHY, "", (), lungs=True, channels={"soft": ()}
    )


def test_images_of_a_case_are_prepared_alike_and_have_to_be_co_registered(tmp_path):
    grey = np.random.default_rng(0).normal(90, 20, (40, 60))
    for name, array in (("a", grey), ("b", 2 * grey - 60), ("c", grey[:, :50])):
        save(tmp_path / f"{name}.png", array)
    lungs = np.zeros((40, 60))
    lungs[10:30, 10:30] = 255
    save(tmp_path / "lungs.png", lungs)
    asked = InputConfig(channels={"ct": ()})

    def cases(first, ct):
        mask = {"lung_mask": "lungs.png" if ct != "c" else ""}
        ct_file = ct and tmp_path / f"{ct}.png"
        return [ImageCase("x", tmp_path / f"{first}.png", 0, "x", mask, (ct_file,))]

    image = (
        image_examples(cases("a", "b"), PreparationConfig(size=32), shown=asked)
        .fields["image"]
        .float()[0]
    )
    assert image.shape == (2, 32, 32)
    assert np.corrcoef(image[0].ravel(), image[1].ravel())[0, 1] > 0.99
    missing = image_examples(cases("a", None), PreparationConfig(size=32), shown=asked).fields[
        "image"
    ]
    assert missing[0, 1].isnan().all()
    assert (missing[0, 0].float() == image[0]).all()
    with pytest.raises(
        UserError, match='channel ct is "c" with 50 x 40 pixels, beside "a" with 60 x 40'
    ):
        image_examples(cases("a", "c"), PreparationConfig(size=32), shown=asked)
