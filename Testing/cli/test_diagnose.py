"""`medllmseg diagnose` and the other commands with classifiers among the models: output, table,
exit codes, sentences.
"""

import csv
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MedLLMSegLib import load_radiograph, load_volume
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.registry.catalogue import list_models
from MedLLMSegLib.registry.classifier_config import RecordConfig
from MedLLMSegLib.registry.user_models import import_model
from Testing.helpers.bad_radiographs import BAD
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.tiny_classifier import tiny_network, volumes, write_tiny

DATA = Path(os.environ.get("MEDLLMSEG_DATA", Path(__file__).parents[3] / "shared/data"))
needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason=f"NOT TESTED: {DATA} is absent")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    yield
    for handler in logging.getLogger("medllmseg").handlers[:]:
        logging.getLogger("medllmseg").removeHandler(handler)


@pytest.fixture
def bundle(tmp_path):
    return write_tiny(tmp_path / "models/tiny")


def picture(path, seed=0, shape=(80, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)).save(path)
    return path


def run(*argv):
    return cli.main([str(a) for a in ("diagnose", *argv)])


def rows(folder):
    with open(folder / "diagnoses.csv", newline="") as file:
        return list(csv.DictReader(file))


# ---- one image ----


def test_one_image_is_printed_with_how_to_do_it_again(tmp_path, bundle, capsys):
    image = picture(tmp_path / "x.png")
    assert run(image, "--model", bundle) == 0
    out = capsys.readouterr().out
    assert f"{image}: pneumonia (confidence 0." in out
    assert "pneumonia from 0.40 on" in out
    assert "no finding  " in out
    assert "research use only, not a medical device" in out
    assert f"again: medllmseg diagnose {image} --model {bundle}" in out
    import MedLLMSegLib

    line = out.split("python: ")[1].strip()
    again = eval(line, {"MedLLMSegLib": MedLLMSegLib})  # what is printed can be pasted
    assert f"{again.probabilities['pneumonia']:6.3f}" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cache",
        "models",
        "x.png",
    ]  # nothing is written unasked


def test_the_heat_map_lies_on_the_image_and_the_picture_beside(tmp_path, bundle, capsys):
    pixels = np.random.default_rng(0).integers(0, 4000, (96, 80)).astype(np.uint16)
    image = write_dicom(
        tmp_path / "chest.dcm",
        pixels,
        WindowCenter=2000,
        WindowWidth=4000,
        ImagerPixelSpacing=[0.2, 0.2],
    )
    assert run(image, "--model", bundle, "--output", tmp_path / "out") == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "chest_heat.nrrd",
        "chest_heat.png",
        "diagnoses.csv",
    }
    heat, scan = load_volume(tmp_path / "out/chest_heat.nrrd"), load_radiograph(image).volume
    assert heat.array.shape == (1, 96, 80)
    assert np.allclose(heat.ijk_to_ras, scan.ijk_to_ras)
    assert heat.array.max() == 1
    assert heat.array.min() >= 0
    shown = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out/chest_heat.png")))
    assert shown.shape == (96, 80, 3)
    hot, cold = np.unravel_index(heat.array[0].argmax(), (96, 80)), heat.array[0] < 0.01
    assert shown[hot][0] >= shown[hot][2] + 90
    assert (np.ptp(shown[cold].astype(int), axis=1) <= 3).all()
    (row,) = rows(tmp_path / "out")
    assert row["status"] == "done"
    assert row["model"] == "tiny"
    assert row["answer"] == "pneumonia"
    assert float(row["p_pneumonia"]) + float(row["p_no finding"]) == pytest.approx(1, abs=2e-4)
    assert row["confidence"] == row["p_pneumonia"]
    assert "1 diagnosed, 0 failed" in capsys.readouterr().out


def test_window_lungs_and_record_reach_the_model(tmp_path, capsys):
    record = RecordConfig(("age",), {"sex": ("F", "M")}, (50.0,), (20.0,))
    bundle = write_tiny(tmp_path / "r", tiny_network(kind="fusion", record=record))
    pixels = np.random.default_rng(0).integers(0, 4000, (96, 80)).astype(np.uint16)
    image = write_dicom(
        tmp_path / "chest.dcm", pixels, WindowCenter=[2000, 500], WindowWidth=[4000, 300]
    )
    lungs = np.zeros((96, 80), np.uint8)
    lungs[20:60, 20:60] = 1
    Image.fromarray(lungs).save(tmp_path / "lungs.png")
    said = []
    for more in (
        (),
        ("--window", 2),
        ("--lung-mask", tmp_path / "lungs.png"),
        ("--record", "age=63", "--record", "sex=M"),
    ):
        assert run(image, "--model", bundle, "-o", tmp_path / f"out {len(said)}", *more) == 0
        said.append(capsys.readouterr().out)
    assert len({rows(tmp_path / f"out {n}")[0]["p_pneumonia"] for n in range(4)}) == 4
    assert "does not state age, sex" in said[0]
    assert "does not state" not in said[3]
    assert "number 2 was used" in said[1]
    assert "window=2" in said[1]
    assert "lungs='" in said[2]
    assert "record={'age': '63', 'sex': 'M'}" in said[3]


# ---- several ----


def test_of_several_images_one_that_fails_does_not_stop_the_rest(tmp_path, bundle, capsys):
    a, c = picture(tmp_path / "p1/x.png"), picture(tmp_path / "p2/x.png", 1)
    b = tmp_path / "b.png"
    b.write_text("no image")
    assert run(a, b, c, "--model", bundle, "--output", tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert "2 diagnosed, 1 failed" in shown.out
    assert "b.png: failed: " in shown.err
    assert [r["status"] for r in rows(tmp_path / "out")] == [
        "done",
        "failed",
        "done",
    ]
    assert "named like a PNG" in rows(tmp_path / "out")[1]["message"]
    assert {p.name for p in (tmp_path / "out").glob("*.nrrd")} == {
        "p1_x_heat.nrrd",
        "p2_x_heat.nrrd",
    }
    picture(b, 2)
    assert (
        run(b, "--model", bundle, "--output", tmp_path / "out") == 0
    )  # the table keeps the others
    assert sorted((Path(r["image"]).name, r["status"]) for r in rows(tmp_path / "out")) == [
        ("b.png", "done"),
        ("x.png", "done"),
        ("x.png", "done"),
    ]


def test_a_folder_stands_for_its_images_and_not_for_our_results(tmp_path, bundle, capsys):
    folder = tmp_path / "xrays"
    for n, name in enumerate(("a.png", "b.jpg", "c.tif")):
        picture(folder / name, n)
    write_dicom(
        folder / "d", np.random.default_rng(4).integers(0, 4000, (80, 80)).astype(np.uint16)
    )
    (folder / "notes.txt").write_text("x")
    for _ in range(2):
        assert run(folder, "--model", bundle, "--output", folder) == 0
        assert "4 diagnosed, 0 failed" in capsys.readouterr().out
    assert len(rows(folder)) == 4
    assert (folder / "d_heat.nrrd").exists()


def test_masks_of_several_images_lie_in_a_folder(tmp_path, bundle, capsys):
    images = [picture(tmp_path / f"{n}.png", n) for n in range(2)]
    lungs = np.zeros((80, 64), np.uint8)
    lungs[20:60, 10:50] = 1
    (tmp_path / "masks").mkdir()
    Image.fromarray(lungs).save(tmp_path / "masks/0.png")
    assert run(*images[::-1], "--model", bundle, "--lung-mask", tmp_path / "masks") == 1
    shown = capsys.readouterr()
    assert "0.png: " in shown.out
    assert 'no lung mask called "1"' in shown.err
    import MedLLMSegLib

    again = eval(
        shown.out.split("python: ")[1].strip(), {"MedLLMSegLib": MedLLMSegLib}
    )  # of the image that could be diagnosed
    assert f"{again.probabilities['pneumonia']:6.3f}" in shown.out
    whole = MedLLMSegLib.diagnose(str(images[0]), model=str(bundle))
    assert again.probabilities["pneumonia"] != whole.probabilities["pneumonia"]
    (tmp_path / "masks/0.png").rename(tmp_path / "masks/2.png")
    assert run(*images, "--model", bundle, "--lung-mask", tmp_path / "masks") == 1
    shown = capsys.readouterr()
    # nothing was done
    assert "again: medllmseg diagnose" in shown.out
    assert "python: " not in shown.out
    (tmp_path / "masks/2.png").rename(tmp_path / "masks/0.png")
    assert run(*images, "--model", bundle, "--lung-mask", tmp_path / "masks/0.png") == 2
    assert "name a folder with a mask for each" in capsys.readouterr().err


def test_frames_are_one_case_and_slices_one_each(tmp_path, capsys):
    rng = np.random.default_rng(0)
    scans = []
    for n in range(2):
        scans.append(tmp_path / f"s{n}.nii.gz")
        sitk.WriteImage(
            sitk.GetImageFromArray(rng.normal(100, 20, (5, 40, 30)).astype(np.float32)),
            str(scans[-1]),
        )
    slices = write_tiny(
        tmp_path / "slices", tiny_network(kind="cnn-lstm"), modality="CT", input=volumes()
    )
    from MedLLMSegLib.diagnosis.input_description import InputConfig

    frames = write_tiny(
        tmp_path / "frames",
        tiny_network(kind="cnn-lstm"),
        modality="MR",
        input=InputConfig("frames", (), "", ()),
    )
    assert run(*scans, "--model", slices, "-o", tmp_path / "o1") == 0
    assert len(rows(tmp_path / "o1")) == 2
    assert load_volume(tmp_path / "o1/s1_heat.nrrd").array.shape == (5, 40, 30)
    assert run(*scans, "--model", frames, "-o", tmp_path / "o2") == 0
    (row,) = rows(tmp_path / "o2")
    assert row["image"] == f"{scans[0]} + {scans[1]}"
    assert {p.name for p in (tmp_path / "o2").glob("*.nrrd")} == {"s0_heat.nrrd"}


# ---- bad input ----


def refused(capsys, tmp_path, argv, words):
    before = sorted(p for p in tmp_path.rglob("*") if "cache" not in p.parts)
    code = run(*argv)
    error = capsys.readouterr().err.strip()
    sentence = error.removeprefix("medllmseg: ")
    assert code == 2, error
    assert words in error, error
    assert len(error.splitlines()) == 1, error
    assert sentence.endswith("."), error
    assert ". " not in sentence, error
    assert "Traceback" not in error, error
    assert sorted(p for p in tmp_path.rglob("*") if "cache" not in p.parts) == before, (
        "something half-written was left"
    )


@pytest.mark.parametrize("name", [n for n in BAD if n != "folder"])
def test_what_is_no_radiograph(name, tmp_path, capsys, bundle):
    make, words = BAD[name]
    refused(
        capsys, tmp_path, [make(tmp_path), "--model", bundle, "--output", tmp_path / "out"], words
    )


def series(folder):
    """Four slices of a CT."""
    folder.mkdir()
    for n in range(4):
        image = sitk.GetImageFromArray(
            np.random.default_rng(n).integers(0, 900, (1, 64, 64)).astype(np.int16)
        )
        for key, value in (
            ("0008|0060", "CT"),
            ("0020|000e", "1.2.3"),
            ("0020|0032", f"0\\0\\{n}"),
            ("0020|0037", "1\\0\\0\\0\\1\\0"),
            ("0008|0016", "1.2.840.10008.5.1.4.1.1.2"),
        ):
            image.SetMetaData(key, value)
        sitk.WriteImage(image, str(folder / f"{n}.dcm"))
    return folder


OTHERS = {
    "a CT slice": (lambda p: [series(p / "ct") / "0.dcm"], "is a CT image by its DICOM tags"),
    "a CT series": (lambda p: [series(p / "ct")], "DICOM series of 4 slices"),
    "an MR image": (
        lambda p: [
            write_dicom(
                p / "x.dcm",
                np.random.default_rng(0).integers(0, 900, (64, 64)).astype(np.uint16),
                Modality="MR",
            )
        ],
        "is an MR image",
    ),
    "no window of that number": (
        lambda p: [
            write_dicom(
                p / "x.dcm", np.random.default_rng(0).integers(0, 900, (64, 64)).astype(np.uint16)
            ),
            "--window",
            2,
        ],
        "has none",
    ),
    "a window of a picture": (
        lambda p: [picture(p / "x.png"), "--window", 1],
        "only DICOM files have them",
    ),
    "an empty folder": (lambda p: [(p / "f").mkdir() or p / "f"], "holds no image"),
    "a record that is none": (lambda p: [picture(p / "x.png"), "--record", "age"], "FIELD=VALUE"),
    "a record for a model of images": (
        lambda p: [picture(p / "x.png"), "--record", "age=3"],
        "reads images alone",
    ),
    "a record of several": (
        lambda p: [picture(p / "x.png"), picture(p / "y.png"), "--record", "age=3"],
        "is of one patient",
    ),
    "a lung mask of another size": (
        lambda p: [picture(p / "x.png"), "--lung-mask", picture(p / "m.png", shape=(70, 64))],
        "has 64 x 70",
    ),
    "no lung mask": (
        lambda p: [picture(p / "x.png"), "--lung-mask", p / "gone.nii.gz"],
        "no file or folder",
    ),
    "a segmentation model": (
        lambda p: [picture(p / "x.png"), "--model", "hippocampus-t1"],
        "is a model that outlines structures",
    ),
    "no such model": (lambda p: [picture(p / "x.png"), "--model", "nothing"], "no model called"),
    "no such device": (lambda p: [picture(p / "x.png"), "--device", "tpu"], "not a device"),
    "a file as output": (
        lambda p: [picture(p / "x.png"), "--output", picture(p / "y.png")],
        "is a file",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_bad_requests(name, tmp_path, capsys, bundle):
    argv = OTHERS[name][0](tmp_path)
    refused(
        capsys,
        tmp_path,
        [*argv, *([] if "--model" in argv else ["--model", bundle])],
        OTHERS[name][1],
    )


def test_a_table_of_the_users_is_spared(tmp_path, bundle, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/diagnoses.csv").write_text("patient,diagnosis\n")
    refused(
        capsys,
        tmp_path,
        [picture(tmp_path / "x.png"), "--model", bundle, "--output", tmp_path / "out"],
        "not one of our tables",
    )


@pytest.mark.skipif(
    any(e.id == "cxr-pneumonia" for e in list_models("classifier")),
    reason="cxr-pneumonia comes with this version",
)
def test_without_the_chest_model_the_command_says_so(tmp_path, capsys, bundle):
    image = picture(tmp_path / "x.png")
    refused(
        capsys,
        tmp_path,
        [image],
        'The chest X-ray model "cxr-pneumonia" does not come with this version',
    )
    import_model(bundle)
    refused(capsys, tmp_path, [image], "name another with --model (tiny)")


# ---- the other commands ----


def test_models_lists_classifiers_with_what_they_tell_apart(bundle, capsys):
    import_model(bundle)
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert "tiny: A tiny test of nothing" in out
    assert "diagnoses   no finding, pneumonia" in out
    assert out.index("hippocampus-t1") < out.index("tiny:")
    assert cli.main(["models", "--licence", "tiny"]) == 0
    assert "Apache" in capsys.readouterr().out


def test_segmentation_commands_refuse_a_classifier_in_one_sentence(bundle, tmp_path, capsys):
    scan = tmp_path / "s.nii.gz"
    sitk.WriteImage(
        sitk.GetImageFromArray(
            np.random.default_rng(0).normal(100, 20, (20, 24, 22)).astype(np.float32)
        ),
        str(scan),
    )
    for argv in (["segment", scan, "--model", bundle, "--output", tmp_path / "o.nii.gz"],):
        assert cli.main([str(a) for a in argv]) == 2
        error = capsys.readouterr().err.strip()
        assert "is a model that diagnoses (use it with `medllmseg diagnose`)" in error
        assert len(error.splitlines()) == 1
        assert ". " not in error[11:]


def test_bundle_brings_a_classifier_up_to_date(bundle, tmp_path, capsys):
    from MedLLMSegLib.registry.bundle import read_bundle

    measured = read_bundle(bundle).measured
    figure = {"value": 0.66, "low": 0.5, "high": 0.8}
    (tmp_path / "r.json").write_text(
        json.dumps(
            {
                "weights_sha256": measured.weights_sha256,
                "measured_model": measured.sha256,
                "cases": 50,
                "figures": {"auc": figure},
            }
        )
    )
    (tmp_path / "wrong.json").write_text(
        json.dumps({"weights_sha256": "0", "cases": 50, "figures": {"auc": figure}})
    )
    assert cli.main(["bundle", str(bundle), "--results", str(tmp_path / "r.json")]) == 0
    assert "0.660 (0.500 to 0.800)" in (bundle / "docs/README.md").read_text()
    assert str(bundle) in capsys.readouterr().out
    assert cli.main(["bundle", str(bundle), "--results", str(tmp_path / "wrong.json")]) == 2
    assert "other weights" in capsys.readouterr().err
    assert cli.main(["bundle", str(bundle), "--as", "hippocampus-t1"]) == 2
    assert "classifier" in capsys.readouterr().err


@needs_shared
def test_real_images(tmp_path, bundle, capsys):
    assert (
        run(
            DATA / "samples/cxr_monochrome.dcm",
            DATA / "samples/cxr_monochrome2.dcm",
            "--model",
            bundle,
            "-o",
            tmp_path / "o",
        )
        == 0
    )
    assert capsys.readouterr().out.count("names no window") == 2
    assert len(rows(tmp_path / "o")) == 2
    assert load_volume(tmp_path / "o/cxr_monochrome2_heat.nrrd").array.shape == (1, 1024, 1024)
    assert sitk.ReadImage(str(tmp_path / "o/cxr_monochrome_heat.png")).GetSize() == (1024, 1024)
    for name in ("example_ct.nii.gz", "example_mr_sm.nii.gz", "example_ct_dicom"):
        refused(
            capsys,
            tmp_path,
            [DATA / "samples" / name, "--model", bundle],
            "3D scan" if name.endswith("gz") else "DICOM series of",
        )
