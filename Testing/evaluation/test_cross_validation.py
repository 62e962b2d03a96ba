"""`medllmseg train --folds`: every case tested once, by a model that never saw its patient."""

import json

import numpy as np
import pytest

from MedLLMSegLib import save_volume
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.bundle import read_bundle

ARGUMENTS = [
    "--steps",
    "2",
    "--window",
    "16",
    "16",
    "16",
    "--batch",
    "1",
    "--precision",
    "fp32",
    "--device",
    "cpu",
    "--structures",
    "ball",
]


@pytest.fixture
def data(tmp_path):
    """Two frames each of four patients, a bright ball in noise; the stated split would leave
    most of them out.
    """
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    k, j, i = np.ogrid[:16, :16, :16]
    for patient in range(1, 5):
        for frame in (1, 2):
            inside = (k - 8) ** 2 + (j - 7 - frame) ** 2 + (i - 8) ** 2 < 20
            image = (100 * inside + 10 * rng.normal(size=inside.shape)).astype(np.float32)
            for part, array in (("imagesTr", image), ("labelsTr", inside.astype(np.uint8))):
                save_volume(
                    Volume(array, np.eye(4)),
                    folder / part / f"patient00{patient}_frame0{frame}.nii.gz",
                )
    (folder / "splits.json").write_text(
        json.dumps({"train": ["patient001"], "val": ["patient002"], "test": ["patient003"]})
    )
    return folder


def run(data, output, *more):
    return cli.main(
        ["train", "--data", str(data), "--output", str(output), "--folds", "4", *ARGUMENTS, *more]
    )


@pytest.mark.slow
def test_every_case_is_tested_once_by_a_model_that_never_saw_its_patient(data, tmp_path, capsys):
    assert run(data, tmp_path / "run") == 0
    assert "8 cases of 4 heads or patients" in capsys.readouterr().out
    summary = json.loads((tmp_path / "run/folds.summary.json").read_text())
    rows = (tmp_path / "run/folds.csv").read_text().splitlines()
    assert sorted(row.split(",")[0] for row in rows[1:]) == sorted(
        p.name[:-7] for p in (data / "imagesTr").iterdir()
    )
    assert summary["cases"] == 8
    assert summary["groups"] == 4
    assert summary["folds"] == 4
    values = []
    for n in range(1, 5):
        plan = json.loads((tmp_path / f"run/fold{n}/plan.json").read_text())
        own = (tmp_path / f"run/fold{n}/test.csv").read_text().splitlines()[1:]
        tested = {row.split("_")[0] for row in own}
        values += [float(row.split(",")[1]) for row in own]
        assert len(tested) == 1
        assert not tested & {case.split("_")[0] for part in plan["cases"].values() for case in part}
    assert summary["mean"]["mean"] == pytest.approx(
        np.mean(values), abs=1e-5
    )  # the joined figure is that of the parts
    assert read_bundle(tmp_path / "run/fold1/bundle").metadata["calibration"]["temperature"] > 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("fold*/*.csv")}
    (tmp_path / "run/fold2/test.csv").unlink()  # as if it had been killed there
    assert run(data, tmp_path / "run") == 0
    assert {p.parent.name for p in before if p.stat().st_mtime_ns != before[p]} == {
        "fold2"
    }  # the rest is not done again


def test_too_many_folds_are_refused(data, tmp_path, capsys):
    assert (
        cli.main(
            [
                "train",
                "--data",
                str(data),
                "--output",
                str(tmp_path / "x"),
                "--folds",
                "5",
                *ARGUMENTS,
            ]
        )
        == 2
    )
    assert "groups" in capsys.readouterr().err
    assert not list((tmp_path / "x").glob("fold*"))


@pytest.mark.slow
def test_folds_on_several_machines_are_joined_by_the_last(data, tmp_path, capsys):
    for n in (4, 2, 1):
        assert run(data, tmp_path / "run", "--fold", str(n)) == 0
        assert not (tmp_path / "run/folds.csv").exists()
    assert "fold 3 of 4 is not finished" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "run").glob("fold*")) == ["fold1", "fold2", "fold4"]
    assert run(data, tmp_path / "run", "--fold", "3") == 0
    assert json.loads((tmp_path / "run/folds.summary.json").read_text())["cases"] == 8


def test_a_fold_that_there_is_not_is_refused(data, tmp_path, capsys):
    assert run(data, tmp_path / "x", "--fold", "5") == 2
    assert "one from 1 to 4" in capsys.readouterr().err
    assert (
        cli.main(
            [
                "train",
                "--data",
                str(data),
                "--output",
                str(tmp_path / "x"),
                "--fold",
                "1",
                *ARGUMENTS,
            ]
        )
        == 2
    )
    assert "--folds was not given" in capsys.readouterr().err


@pytest.mark.parametrize(
    "started",
    [
        {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"},
    ],
    ids=["torchrun", "srun"],
)
def test_several_processes_are_refused_before_any_work(
    data, tmp_path, capsys, monkeypatch, started
):
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert run(data, tmp_path / "x") == 2
    assert "trains on one process" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
