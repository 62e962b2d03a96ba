"""What is decided on val when a training is finished: stray parts go where they are errors, and
stay where they are not.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from MedLLMSegLib import save_volume
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import read_cases
from MedLLMSegLib.data.case_digest import marks_of_cases
from MedLLMSegLib.registry.catalogue import find_model, read_metadata
from MedLLMSegLib.registry.seen_cases import SeenCases
from MedLLMSegLib.training.checkpoint import BEST, save
from MedLLMSegLib.training.segmenter.bundle import fit_calibration as unit
from MedLLMSegLib.training.segmenter.bundle.fit_calibration import (
    calibrate,
    largest_part,
    main,
    val_cases,
)
from Testing.helpers.labelled_files import GRID
from Testing.helpers.tiny_segmenter import tiny_bundle

NO = float("nan")
SHARED = Path(__file__).resolve().parents[3] / "shared/data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"NOT TESTED: {SHARED} is absent")


@pytest.mark.parametrize(
    "scores, kept, shown",
    [  # of each case: all parts, each, together, both; of two structures
        (
            [
                [[0.8, 0.9], [0.9, 0.9], [0.8, 0.9], [0.8, 0.9]],
                [[0.7, 0.9], [0.7, 0.9], [0.7, 0.9], [0.7, 0.9]],
            ],
            "each",
            0.85,
        ),
        (
            [[[0.8, 0.9], [0.6, 0.9], [0.9, 0.9], [0.9, 0.9]]],
            "together",
            0.9,
        ),  # the largest part of one is no heart
        (
            [[[0.8, 0.9], [0.9, 0.9], [0.9, 0.9], [0.9, 0.9]]],
            "together",
            0.9,
        ),  # as good: the first step is enough
        ([[[0.8, 0.9], [0.9, 0.9], [0.85, 0.9], [0.95, 0.9]]], "both", 0.925),
        (
            [[[0.8, 0.9], [0.9, 0.9], [0.85, 0.9], [0.95, 0.85]]],
            "together",
            0.875,
        ),  # within it one structure has parts
        ([[[0.8, 0.9], [0.8, 0.9], [0.8, 0.9], [0.8, 0.9]]], False, 0.85),  # no better
        (
            [[[0.8, 0.9], [0.95, 0.89], [0.1, 0.1], [0.1, 0.1]]],
            False,
            0.92,
        ),  # better in the mean, but one structure has parts
        (
            [[[0.5, NO], [0.7, NO], [0.5, NO], [0.5, NO]], [[NO, NO]] * 4],
            "each",
            0.7,
        ),  # a structure that no case has says nothing
        ([[[NO]] * 4], False, None),
    ],
)
def test_the_largest_part_is_kept_where_no_structure_loses(scores, kept, shown):
    found = largest_part(np.array(scores))
    assert found["kept"] == kept
    assert kept or found["kept"] is False
    assert found["dice_largest"] == (shown and pytest.approx(shown))


class Shades(nn.Module):
    """Bright voxels are the structure."""

    def forward(self, image):
        return 8 * torch.cat((0.5 - image, image - 0.5), dim=1)


@pytest.mark.parametrize("true_parts, kept", [(1, "together"), (2, False)])
def test_stray_parts_are_seen_on_val(tmp_path, monkeypatch, true_parts, kept):
    monkeypatch.setattr(unit, "fill_best", lambda network, run: {"step": 7})
    image = np.zeros((1, 12, 16, 16), np.float32)
    image[0, 2:8, 2:8, 2:8] = 1
    label = (image > 0).astype(np.uint8)
    image[0, 9:11, 12:14, 12:14] = 1
    if true_parts == 2:
        label = (image > 0).astype(np.uint8)
    arguments = (
        tmp_path,
        Shades(),
        [{"image": image, "label": label}],
        torch.device("cpu"),
        (32, 32, 32),
    )
    found = calibrate(*arguments)
    assert found["largest_part"]["kept"] == kept
    assert found["from_step"] == 7
    # Where both parts are labelled every voxel is right, and no temperature is sharp enough.
    assert found["temperature"] > 0
    assert bool(found["not_fitted"]) == (true_parts == 2)
    dice = 2 * 216 / (216 + 224) if kept else 1.0
    assert found["largest_part"]["dice_all"] == pytest.approx(dice, abs=1e-4)
    written = tmp_path / unit.CALIBRATION
    written.write_text(json.dumps({**found, "temperature": 3.0}))
    assert calibrate(*arguments)["temperature"] == 3.0  # the same weights are not fitted twice
    written.write_text(json.dumps({"temperature": 3.0, "cases": 1, "from_step": 7}))
    assert calibrate(*arguments) == found  # an older file, which does not say it


class Scaled(nn.Module):
    """`Shades` with a weight, which is noted each time."""

    def __init__(self, value):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.tensor(value)), set()

    def forward(self, image):
        self.seen.add(self.weight.item())
        return self.weight * torch.cat((0.5 - image, image - 0.5), dim=1)


def test_the_weights_are_calibrated_as_the_bundle_stores_them(tmp_path):
    value = 8.1234567
    save(tmp_path / BEST, {"weights": {"weight": torch.tensor(value)}, "step": 3, "val_dice": 0.5})
    image = np.zeros((1, 8, 8, 8), np.float32)
    image[0, 2:6, 2:6, 2:6] = 1
    network = Scaled(0.0)
    cases = [{"image": image, "label": (image > 0).astype(np.uint8)}]
    calibrate(tmp_path, network, cases, torch.device("cpu"), (8, 8, 8))
    assert network.seen == {float(np.float16(value))} != {float(np.float32(value))}


def some_cases(folder, count):
    """Bright blocks of noise with their label maps, in the Decathlon's layout: no two images, and
    no two label maps, are the same.
    """
    for n in range(count):
        labels = np.zeros((8, 24, 20 + n), np.uint8)
        labels[2:5, 6:14, 5:12], labels[5:7, 15:20, 6 + n] = 1, 2
        noise = np.random.default_rng(n).normal(size=labels.shape).astype(np.float32)
        save_volume(Volume(noise + 3 * labels, GRID), folder / f"imagesTr/case_{n}.nii.gz")
        save_volume(Volume(labels, GRID), folder / f"labelsTr/case_{n}.nii.gz")
    return {case.id: case for case in read_cases(folder).cases}


def seen_of(cases, **parts):
    """What a bundle lists: the part of each name holds the cases with these numbers."""
    marks = {
        part: marks_of_cases(cases[f"case_{n}"] for n in numbers) for part, numbers in parts.items()
    }
    return SeenCases(**marks, known=True)


def test_a_finished_model_is_calibrated_on_the_cases_that_it_lists(tmp_path, monkeypatch):
    """Whatever the splits of the data say today, and however a split would be drawn anew."""
    cases = some_cases(tmp_path / "data", 6)
    given = json.dumps({"train": ["case_3"], "val": ["case_0", "case_1", "case_2"]})
    (tmp_path / "data/splits.json").write_text(given)
    seen = seen_of(cases, train=(0, 1, 2), val=(3, 4))
    bundle = tiny_bundle(tmp_path / "tiny", seen=seen.to_dict())
    read = []
    prepare = unit.prepare_set
    monkeypatch.setattr(
        unit,
        "prepare_set",
        lambda val, *rest, **more: read.extend(c.id for c in val) or prepare(val, *rest, **more),
    )
    output = tmp_path / "c.json"
    given = ["--model", str(bundle), "--data", str(tmp_path / "data"), "--device", "cpu"]
    assert main([*given, "--output", str(output)]) == 0
    assert sorted(read) == ["case_3", "case_4"]
    assert json.loads(output.read_text())["cases"] == 2


def test_a_model_that_lists_no_cases_is_not_calibrated(tmp_path, capsys):
    some_cases(tmp_path / "data", 3)
    given = ["--model", str(tiny_bundle(tmp_path / "tiny")), "--data", str(tmp_path / "data")]
    assert main([*given, "--device", "cpu", "--output", str(tmp_path / "c.json")]) == 2
    assert "does not list all cases" in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


def test_what_the_model_was_trained_on_is_no_val_case(tmp_path):
    """Neither a case of its own training nor one of the model that it was started from."""
    cases = some_cases(tmp_path / "data", 4)
    case_set = read_cases(tmp_path / "data")
    seen = seen_of(cases, train=(0,), val=(0, 1, 2), before=(1,))
    assert [case.id for case in val_cases("tiny", case_set, seen)] == ["case_2"]
    for none_left in (seen_of(cases, val=(1,), before=(1,)), seen_of(cases, train=(0,))):
        with pytest.raises(UserError, match="None of the 4 cases"):
            val_cases("tiny", case_set, none_left)


@needs_shared
def test_a_model_that_is_there_is_calibrated_anew(tmp_path, capsys):
    """The shipped model on three of its val cases: near the temperature that its training's end
    found on all of them. A case that it was trained on is left out.
    """
    data = tmp_path / "data"
    for part in ("imagesTr", "labelsTr"):
        (data / part).mkdir(parents=True)
        for n in ("003", "044", "045", "046"):
            shutil.copy(SHARED / f"hippocampus/{part}/hippocampus_{n}.nii.gz", data / part)
    given = [
        "--model",
        "hippocampus-t1",
        "--data",
        str(data),
        "--device",
        "cpu",
        "--output",
        str(tmp_path / "c.json"),
    ]
    assert main(given) == 0
    found, known = (
        json.loads((tmp_path / "c.json").read_text()),
        read_metadata(find_model("hippocampus-t1").folder),
    )
    assert found["cases"] == 3
    assert found["weights_sha256"] == find_model("hippocampus-t1").sha256
    assert found["temperature"] == pytest.approx(known["calibration"]["temperature"], rel=0.25)
    assert found["largest_part"]["dice_all"] > 0.85
    capsys.readouterr()
    assert main([*given[:3], str(tmp_path / "none"), *given[4:]]) == 2
    assert "Traceback" not in capsys.readouterr().err
