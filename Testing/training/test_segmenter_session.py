"""`medllmseg train` from cases on disk to a model that segments, at toy size, and every way it
refuses.
"""

import json
import resource
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib import load_volume, save_volume, segment
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case
from MedLLMSegLib.data.case_digest import scan_digest
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.segmentation.prepare import Preparation, prepare_whole
from MedLLMSegLib.training.segmenter import segmenter_session as session
from MedLLMSegLib.training.segmenter.samples.chosen_cases import draw_cases
from Testing.helpers.toy_training import write_toy_data

SMALL = ["--steps", "4", "--validations", "1", "--window", "16", "24", "16"]
SMALL += ["--batch", "1", "--precision", "fp32", "--device", "cpu"]


NAMES = ("--name", "toy", "--title", "Toy", "--modality", "toy images", "--licence", "CC0-1.0")


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """Toy data that no test may change."""
    return write_toy_data(tmp_path_factory.mktemp("toys"))


@pytest.fixture
def data(toys, tmp_path):
    """Toy data of a test's own."""
    return shutil.copytree(toys, tmp_path / "data")


@pytest.fixture(scope="module")
def trained(toys, tmp_path_factory):
    """A finished training that no test may change."""
    output = tmp_path_factory.mktemp("trained") / "run"
    assert train(toys, output) == 0
    return output


@pytest.fixture
def run(trained, tmp_path):
    """A finished training of a test's own, with the options of `SMALL`."""
    return shutil.copytree(trained, tmp_path / "run")


def train(data, output, *more):
    return cli.main(["train", "--data", str(data), "--output", str(output), *SMALL, *more])


def test_cases_become_a_model_that_segments(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(data, run, *NAMES) == 0
    out = capsys.readouterr().out
    assert "spacing" in out
    assert "window" in out
    assert f"medllmseg evaluate --model {run / 'bundle'}" in out
    split = "4 to train on, 1 to choose by (case4), 1 to test on"
    assert f"6 labelled cases: {split}. The data name no patients" in out
    about = read_bundle(run / "bundle").metadata
    assert about["id"] == "toy"
    assert about["structures"] == ["front", "back"]
    assert about["licence"] == "CC0-1.0"
    assert about["fingerprint"]
    assert about["plan"]["window"] == [16, 24, 16]
    assert (run / "curve.png").stat().st_size > 5000
    assert list((run / "examples").glob("step_*.png"))
    seen = read_bundle(run / "bundle").measured.seen
    assert (seen.known, len(seen.train.scans), seen.before.scans) == (True, 4, frozenset())
    assert seen.val.scans == {scan_digest(load_volume(data / "imagesTr/case4.nii.gz"))}
    result = segment(load_volume(data / "imagesTr/case5.nii.gz"), run / "bundle", device="cpu")
    assert [s.name.lower() for s in result.structures] == ["front", "back"]
    assert result.labels.array.shape == (16, 24, 16)
    history = json.loads((run / "history.json").read_text())
    assert history[-1]["step"] == 4
    assert train(data, run, *NAMES) == 0  # finished: nothing is trained again
    assert json.loads((run / "history.json").read_text()) == history


@pytest.mark.slow
def test_muon_is_the_default_and_older_plans_mean_adamw(data, run, tmp_path, capsys):
    assert train(data, tmp_path / "older", "--optimiser", "adamw") == 0
    plans = [json.loads((tmp_path / name / "plan.json").read_text()) for name in ("run", "older")]
    assert [plan["train"]["optimiser"] for plan in plans] == ["muon", "adamw"]
    del (
        plans[1]["train"]["optimiser"],
        plans[1]["request"]["optimiser"],
    )  # as a version before the option wrote it
    (tmp_path / "older/plan.json").write_text(json.dumps(plans[1]))
    assert train(data, tmp_path / "older", "--optimiser", "adamw") == 0
    capsys.readouterr()
    assert train(data, tmp_path / "older") == 2
    assert "another \"optimiser\" ('adamw', now 'muon')" in capsys.readouterr().err


def test_other_options_in_the_same_folder_are_refused(data, run, capsys):
    assert train(data, run, "--lr", "0.1") == 2
    assert 'holds a training with another "lr"' in capsys.readouterr().err


@pytest.mark.parametrize("split", [True, False])
def test_other_data_in_the_same_folder_are_refused(data, run, tmp_path, capsys, split):
    if not split:
        (data / "splits.json").unlink()  # then a new case draws new splits
        shutil.rmtree(run)
        assert train(data, run) == 0
    capsys.readouterr()
    for folder in ("imagesTr", "labelsTr"):
        (data / folder / "case6.nii.gz").write_bytes((data / folder / "case1.nii.gz").read_bytes())
    if split:
        names = [f"case{n}" for n in range(7)]
        (data / "splits.json").write_text(
            json.dumps({"train": names[:3] + names[4:5], "val": names[3:4], "test": names[5:]})
        )
    assert train(data, tmp_path / "run") == 2
    assert "other data: the train cases differ" in capsys.readouterr().err
    assert (tmp_path / "run/bundle").is_dir()  # nothing is lost


def test_a_label_map_that_was_corrected_is_not_passed_over(data, run, tmp_path, capsys):
    path = data / "labelsTr/case1.nii.gz"
    before, labels = path.read_bytes(), load_volume(path)
    labels.array[8, 12, 8] = 0
    save_volume(labels, path)
    capsys.readouterr()
    assert train(data, tmp_path / "run") == 2
    assert 'label map of "case1" is not the one that the training' in capsys.readouterr().err
    path.write_bytes(before)
    assert train(data, tmp_path / "run") == 0


def test_a_finished_training_is_left_as_it_is(data, run, tmp_path, capsys):
    card = tmp_path / "run/bundle/docs/README.md"
    card.write_text("with figures")
    moved = data.rename(tmp_path / "moved")  # the cases are known by what their files hold
    assert train(moved, tmp_path / "run") == 0
    assert card.read_text() == "with figures"
    assert "goes on at step 4 of 4" in capsys.readouterr().out
    (moved / "dataset.json").write_text(json.dumps({"labels": {"1": "back", "2": "front"}}))
    assert train(moved, tmp_path / "run") == 2
    assert (
        "holds a training of the structures front, back, and the data now have back, front"
        in capsys.readouterr().err
    )


def test_what_stands_where_the_model_will_is_said_before_the_work(data, tmp_path, capsys):
    (tmp_path / "run/bundle").mkdir(parents=True)
    (tmp_path / "run/bundle/mine.txt").write_text("mine")
    assert train(data, tmp_path / "run") == 2
    assert "exists and is not a model bundle" in capsys.readouterr().err
    assert not (tmp_path / "run/plan.json").exists()


@pytest.mark.slow
def test_a_folder_in_which_nothing_was_saved_yet_takes_other_options(data, run, tmp_path):
    (tmp_path / "run/last.pt").unlink()
    assert train(data, tmp_path / "run", "--lr", "0.002") == 0


@pytest.mark.slow
def test_ct_is_trained_and_segmented_on_one_scale(data, tmp_path, capsys):
    for n in range(6):
        image = load_volume(data / f"imagesTr/case{n}.nii.gz")
        save_volume(
            Volume(image.array - 1000, np.eye(4)), data / f"imagesTr/case{n}.nii.gz"
        )  # organ -900, air -1000
    assert train(data, tmp_path / "run") == 0
    assert "Hounsfield" in capsys.readouterr().out
    settings = read_bundle(tmp_path / "run/bundle").metadata["preprocessing"]
    low, high, mean, deviation = settings["grey"]
    assert -935 < low < -910 < mean < -890 < high < -865
    assert 8 < deviation < 12
    assert f"minus {mean:g}" in settings["normalise"]
    array, _ = prepare_whole(
        load_volume(data / "imagesTr/case5.nii.gz"), Preparation.from_settings(settings)
    )
    assert np.unique(array)[0] == pytest.approx(
        (low - mean) / deviation, abs=1e-4
    )  # air is clipped
    segment(load_volume(data / "imagesTr/case5.nii.gz"), tmp_path / "run/bundle", device="cpu")


@pytest.mark.slow
def test_crops_around_an_organ_get_one_spacing(data, tmp_path, capsys):
    for folder in ("imagesTr", "labelsTr"):
        for n in range(6):
            volume = load_volume(data / folder / f"case{n}.nii.gz")
            save_volume(
                Volume(volume.array, np.diag([0.9, 0.9, 2.5, 1])), data / folder / f"case{n}.nii.gz"
            )
    crops = ["--anatomy", "hippocampus", "--structures", "anterior", "posterior"]
    assert train(data, tmp_path / "bad", *crops, "--spacing", "2.5", "0.9", "0.9") == 2
    assert "need one spacing for all axes" in capsys.readouterr().err
    assert train(data, tmp_path / "run", *crops) == 0
    plan = json.loads((tmp_path / "run/plan.json").read_text())
    assert plan["plan"]["spacing_mm"] == [0.9] * 3
    assert plan["plan"]["axes"] == "ras"
    assert plan["preprocessing"]["spacing_mm"] == 0.9


@pytest.mark.slow
def test_a_model_is_fine_tuned_on_a_few_cases(data, tmp_path, capsys):
    assert (
        train(
            data, tmp_path / "run", "--from", "hippocampus-t1", "--cases", "3", "--licence", "MIT"
        )
        == 2
    )
    assert "hippocampus-t1 is under CC-BY-SA-4.0, which binds" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert train(data, tmp_path / "run", "--from", "hippocampus-t1", "--cases", "3") == 0
    assert "begin again with --anatomy hippocampus" in capsys.readouterr().out
    plan = json.loads((tmp_path / "run/plan.json").read_text())
    assert plan["plan"]["strides"] == plan["network"]["strides"]
    assert plan["train"]["look_first"]
    tuned, base = (
        read_bundle(f) for f in (tmp_path / "run/bundle", "MedLLMSegLib/bundles/hippocampus-t1")
    )
    assert tuned.metadata["chosen"]["trained_on"] == 3
    assert tuned.measured.seen.before == base.measured.seen.all
    assert tuned.measured.seen.known
    assert tuned.metadata["fine_tuned_from"]["id"] == "hippocampus-t1"
    assert (
        tuned.metadata["licence"] == base.metadata["licence"]
    )  # share-alike: what is trained from it carries it
    name = "blocks.0.mlp.0.weight"
    assert (
        tuned.tensors[name] - base.tensors[name]
    ).abs().max() < 0.01  # near where it began: 4 gentle steps


@pytest.mark.slow
def test_a_fine_tuning_goes_on_without_the_model_it_began_with(data, tmp_path, monkeypatch):
    base = shutil.copytree("MedLLMSegLib/bundles/hippocampus-t1", tmp_path / "base")

    def stopped(*arguments):
        raise Cancelled

    with monkeypatch.context() as patch:
        patch.setattr("MedLLMSegLib.training.segmenter.segmenter_session.calibrate", stopped)
        assert train(data, tmp_path / "run", "--from", str(base)) != 0
    shutil.rmtree(base)
    assert train(data, tmp_path / "run", "--from", str(base)) == 0
    about = read_bundle(tmp_path / "run/bundle").metadata
    assert about["fine_tuned_from"]["id"] == "hippocampus-t1"
    assert about["licence"] == "CC-BY-SA-4.0"


def test_a_model_whose_licence_has_to_be_accepted_is_not_fine_tuned_before(
    data, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    base = shutil.copytree("MedLLMSegLib/bundles/hippocampus-t1", tmp_path / "base")
    about = base / "configs/metadata.json"
    about.write_text(
        json.dumps(
            json.loads(about.read_text(encoding="utf-8")) | {"id": "theirs", "accept_licence": True}
        )
    )
    assert train(data, tmp_path / "run", "--from", str(base)) == 2
    assert "has to be accepted before its first use" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_time_budget_sets_the_steps_and_counts_the_looks_at_val(
    data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        "MedLLMSegLib.training.segmenter.planning.loop_settings.seconds_per_validation",
        lambda *measured: 0.4,
    )  # 20 would take 8 s
    arguments = [a for a in SMALL if a not in ("--steps", "4", "--validations")]
    arguments.remove("1")
    assert (
        cli.main(
            [
                "train",
                "--data",
                str(data),
                "--output",
                str(tmp_path / "run"),
                *arguments,
                "--minutes",
                "0.02",
            ]
        )
        == 0
    )
    plan = json.loads((tmp_path / "run/plan.json").read_text())
    assert plan["train"]["steps"] >= 20
    assert plan["train"]["validate_every"] == -(-plan["train"]["steps"] // 2)
    assert "3 validations of 0.4 s" in plan["pace"]
    assert plan["pace"] in capsys.readouterr().out


@pytest.mark.slow
def test_a_training_keeps_the_precision_that_was_fastest_where_it_began(
    data, tmp_path, monkeypatch, capsys
):
    run, options = tmp_path / "run", [word for word in SMALL if word not in ("--precision", "fp32")]
    begin = ["train", "--data", str(data), "--output", str(run), *options]
    monkeypatch.setattr("MedLLMSegLib.training.devices.cpu_has_bf16", lambda: False)
    with monkeypatch.context() as patch:
        patch.setattr(
            "MedLLMSegLib.training.segmenter.segmenter_session.calibrate",
            lambda *given: (_ for _ in ()).throw(UserError("stopped here")),
        )
        assert cli.main(begin) == 2
    said = capsys.readouterr().out
    assert "precision       fp32" in said
    assert "trains fastest in" in said
    used = []
    monkeypatch.setattr("MedLLMSegLib.training.devices.cpu_has_bf16", lambda: True)
    real = session.make_fabric
    monkeypatch.setattr(
        session,
        "make_fabric",
        lambda device, precision: used.append(precision) or real(device, precision),
    )
    assert cli.main(begin) == 0
    assert used == ["fp32"]
    assert read_bundle(run / "bundle").metadata["training"]["precision"] == "fp32"


@pytest.mark.slow
def test_spacing_augmentation_and_looks_can_be_asked_for(data, tmp_path, capsys):
    assert (
        train(
            data,
            tmp_path / "run",
            "--spacing",
            "1.5",
            "1.5",
            "2",
            "--augmentation",
            "strong",
            "--validations",
            "2",
        )
        == 0
    )
    plan = json.loads((tmp_path / "run/plan.json").read_text())
    assert plan["plan"]["spacing_mm"] == [1.5, 1.5, 2.0]
    assert plan["train"]["validate_every"] == 2
    how = plan["train"]["augmentation"]
    assert how["rotate_deg"] == [30.0, 30.0, 30.0]
    assert how["elastic"] == 0.5
    assert how["intensity"] == 1.5
    assert read_bundle(tmp_path / "run/bundle").metadata["preprocessing"]["spacing_mm"] == [
        1.5,
        1.5,
        2.0,
    ]
    assert train(data, tmp_path / "bad", "--spacing", "1", "0", "1") == 2
    assert "--spacing" in capsys.readouterr().err
    assert not (tmp_path / "bad").exists()


def test_a_run_begun_before_an_option_came_goes_on(data, run, capsys):
    plan = json.loads((run / "plan.json").read_text())
    for name in ("spacing", "augmentation", "validations"):
        del plan["request"][name]
    (run / "plan.json").write_text(json.dumps(plan))
    assert train(data, run, "--validations", "20") == 0  # the default, which was used then
    assert train(data, run, "--validations", "3") == 2
    assert 'another "validations" (20, now 3)' in capsys.readouterr().err


def test_cases_are_drawn_in_whole_groups():
    cases = [Case(f"c{n}", f"c{n}", f"c{n}", f"head {n // 2}") for n in range(12)]
    drawn = draw_cases(cases, 4, seed=1)
    assert len(drawn) == 4
    assert len({c.group for c in drawn}) == 2
    assert draw_cases(cases, 4, seed=1) == drawn != draw_cases(cases, 4, seed=2)
    assert len(draw_cases(cases, 3, seed=1)) == 3
    assert draw_cases(cases, None, 0) == cases
    with pytest.raises(UserError, match="--cases 13 asks for more than the 12"):
        draw_cases(cases, 13, 0)


def spoil_grid(data):
    image = load_volume(data / "imagesTr/case0.nii.gz")
    save_volume(
        Volume(image.array[:-1].astype(np.uint8), np.eye(4)), data / "labelsTr/case0.nii.gz"
    )


def spoil_value(data):
    label = load_volume(data / "labelsTr/case1.nii.gz")
    save_volume(
        Volume((label.array * 5).astype(np.uint8), np.eye(4)), data / "labelsTr/case1.nii.gz"
    )


def only_one(data):
    for n in range(1, 6):
        (data / f"labelsTr/case{n}.nii.gz").unlink()
    (data / "splits.json").unlink()


def two_splits(data):
    (data / "splits.json").write_text(
        json.dumps({"train": ["case0", "case1"], "val": ["case1"], "test": []})
    )


def empty_labels(data):
    for n in range(6):
        save_volume(
            Volume(np.zeros((16, 24, 16), np.uint8), np.eye(4)), data / f"labelsTr/case{n}.nii.gz"
        )


def not_a_number(data):
    image = load_volume(data / "imagesTr/case2.nii.gz")
    array = image.array.copy()
    array[3, 3, 3] = np.nan
    sitk.WriteImage(
        sitk.GetImageFromArray(array), str(data / "imagesTr/case2.nii.gz")
    )  # our own writer refuses


@pytest.mark.parametrize(
    "spoil, words",
    [
        (spoil_grid, "same grid"),
        (spoil_value, "case1"),
        (only_one, "case"),
        (two_splits, "two splits"),
        (empty_labels, "empty"),
        (not_a_number, "NaN"),
        (lambda data: (data / "imagesTr/case3.nii.gz").unlink(), "case3"),
    ],
    ids=["grid", "value", "one case", "two splits", "empty", "NaN", "missing"],
)
def test_bad_cases_are_one_sentence(data, tmp_path, capsys, spoil, words):
    spoil(data)
    assert train(data, tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("medllmseg:")]) == 1
    assert not (tmp_path / "run/bundle").exists()


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_the_last_state_stays(data, tmp_path, capsys, monkeypatch):
    """A limit on file sizes stands in for a full disk: the write fails midway in the same way."""
    from MedLLMSegLib.training import checkpoint

    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path))
    (tmp_path / "medllmseg.log").write_text(
        "of earlier runs " * 10_000
    )  # which cannot be written to either
    run, real, written = tmp_path / "run", checkpoint.save, []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(path, content):
        if written:  # the first checkpoint still found room
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        real(path, content)
        written.append(path)

    monkeypatch.setattr(checkpoint, "save", save)
    monkeypatch.setattr(
        "MedLLMSegLib.training.segmenter.train_config.TrainConfig.checkpoint_s",
        0.0,
        raising=False,
    )
    try:
        assert train(data, run, "--validations", "4") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "disk or quota is full" in capsys.readouterr().err
    assert len(written) == 1
    assert checkpoint.load(written[0])["step"] == 1
    assert not list(run.glob(".*.pt"))
    monkeypatch.undo()
    assert (
        train(data, run, "--validations", "4") == 0
    )  # with room again the same command ends the training


@pytest.mark.parametrize(
    "options, words",
    [
        (["--minutes", "5"], "give one of them"),
        (["--lr", "-1"], "must be above 0"),
        (["--precision", "fp16"], "fp16 needs a CUDA"),
        (["--name", "../evil"], 'use "evil"'),
        (["--seed", "-1"], "--seed is -1"),
        (["--patience", "-1"], "--patience is -1"),
        (["--lr", "inf"], "not infinite"),
        (["--spacing", "0.01", "0.01", "0.01"], "choose a coarser --spacing"),
        (["--preset", "unet"], "no preset"),
        (["--from", "hippocampus-t1", "--llm-layer", "3"], "--llm-layer chooses a network"),
        (["--from", "hippocampus-t1", "--preset", "paper-vit"], "--preset chooses a network"),
        (["--from", "nothing"], 'no model called "nothing"'),
        (["--cases", "9"], "asks for more"),
    ],
)
def test_bad_options_are_one_sentence(data, tmp_path, capsys, options, words):
    assert train(data, tmp_path / "run", *options) == 2
    assert words in capsys.readouterr().err
