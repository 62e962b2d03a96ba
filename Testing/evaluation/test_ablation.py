"""Measured again without the tokens and without the language model: what each gives, in figures."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import load_model, load_volume, save_volume, segment
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.evaluation.ablation import (
    PARTS,
    Ablated,
    ablation_lines,
    ablation_summary,
    ablation_table,
    parts_to_silence,
)
from MedLLMSegLib.evaluation.evaluate_segmenter import EvaluationOptions, evaluate
from MedLLMSegLib.evaluation.scores import Score
from MedLLMSegLib.networks.ablation import ABLATIONS, silenced
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle

FP32 = EvaluationOptions("cpu", precision="fp32", ablate=True)


def scores(*pairs):
    """Of four cases of three patients, from (anterior, posterior) Dice."""
    groups = ("p1", "p1", "p2", "p3")
    return [
        Score(f"c{n}", group, {"dice_anterior": a, "dice_posterior": p, "hd95_mm_anterior": 9.0})
        for n, (group, (a, p)) in enumerate(zip(groups, pairs, strict=True))
    ]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory, bundle):
    """Two scans whose truth is the answer of the tiny model itself."""
    folder = tmp_path_factory.mktemp("cases")
    rng = np.random.default_rng(4)
    for n in (1, 2):
        array = rng.normal(size=(12, 40, 36)).astype(np.float32)
        scan = Volume(array, oblique(array.shape, (1.5, 1.5, 5.0)))
        save_volume(scan, folder / "imagesTr" / f"s_{n}.nii.gz")
        stored = load_volume(folder / "imagesTr" / f"s_{n}.nii.gz")
        truth = segment(stored, bundle, device="cpu", precision="fp32").labels
        save_volume(truth, folder / "labelsTr" / f"s_{n}.nii.gz")
    return folder


def test_the_parts_are_those_that_networks_can_do_without():
    assert tuple(PARTS) == ABLATIONS


def test_the_change_is_paired_over_patients():
    whole = scores((0.9, 0.7), (0.7, 0.5), (0.8, 0.8), (0.6, 0.6))  # cases 0.8, 0.6, 0.8, 0.6
    without = scores((0.8, 0.6), (0.7, 0.5), (0.5, 0.5), (0.6, 0.6))  # 0.7, 0.6, 0.5, 0.6
    found = ablation_summary(whole, [Ablated("no_tokens", tuple(without))], lambda part: "")
    assert found["whole"]["n"] == 3
    assert found["whole"]["mean"] == pytest.approx((0.7 + 0.8 + 0.6) / 3)
    part = found["parts"]["no_tokens"]
    assert part["mean"] == pytest.approx((0.65 + 0.5 + 0.6) / 3)
    assert part["change"]["mean"] == pytest.approx((-0.05 - 0.3 + 0) / 3)
    assert part["change"]["low"] < part["change"]["mean"] < part["change"]["high"] <= 0
    text = "\n".join(ablation_lines(found))
    assert "-0.1167" in text
    assert "0.7000" in text
    table = ablation_table(whole, [Ablated("no_tokens", tuple(without))])
    rows = list(csv.DictReader(table.splitlines()))
    assert rows[0] == {
        "case": "c0",
        "group": "p1",
        "dice_whole": "0.800000",
        "dice_no_tokens": "0.700000",
    }


def test_a_model_without_any_of_the_parts_is_refused():
    with pytest.raises(UserError, match=r"model \"m\" can be left out: no blocks; no blocks\. Le"):
        parts_to_silence("m", lambda part: "no blocks")
    assert parts_to_silence("m", {"no_tokens": "none", "no_language_model": ""}.get) == (
        "no_language_model",
    )


def test_each_arm_is_the_model_with_that_part_silenced(bundle, data, tmp_path, capsys):
    """The truth is the model's own answer: the whole has Dice 1, and the arm what a segmentation
    with the silenced network has.
    """
    output = tmp_path / "out/test.csv"
    assert (
        cli.main(
            f"evaluate --model {bundle} --data {data} --device cpu --precision fp32 --ablate"
            f" --output {output}".split()
        )
        == 0
    )
    found = json.loads((tmp_path / "out/test.summary.json").read_text())["ablation"]
    assert found["whole"]["mean"] == pytest.approx(1)
    assert list(found["parts"]) == ["no_tokens"]
    assert "no language-model block" in found["left_out"]["no_language_model"]
    rows = list(csv.DictReader((tmp_path / "out/test.ablation.csv").read_text().splitlines()))
    loaded = load_model(bundle, device="cpu", precision="fp32")
    for row in rows:
        scan = load_volume(data / "imagesTr" / f"{row['case']}.nii.gz")
        truth = load_volume(data / "labelsTr" / f"{row['case']}.nii.gz").array
        with silenced(loaded.network, "no_tokens"):
            labels = segment(scan, loaded).labels.array
        dice = [
            2 * ((labels == n) & (truth == n)).sum() / ((labels == n).sum() + (truth == n).sum())
            for n in (1, 4)
            if ((labels == n) | (truth == n)).any()
        ]
        assert float(row["dice_no_tokens"]) == pytest.approx(np.mean(dice), abs=1e-5)
        assert float(row["dice_no_tokens"]) < 0.99
    printed = capsys.readouterr().out
    assert "tokens set to zero" in printed
    assert "language model bypassed: not done, as the network holds no" in printed


def test_a_case_that_fails_without_a_part_counts_as_missed(bundle, data, tmp_path, monkeypatch):
    def nothing(*args, **more):
        raise UserError("Nothing was found.")

    real = segment

    def fails_when_silenced(volume, model, **more):
        hooked = any(part._forward_hooks for part in model.network.modules())
        return (nothing if hooked else real)(volume, model, **more)

    monkeypatch.setattr("MedLLMSegLib.segmentation.pipeline.segment", fails_when_silenced)
    summary = evaluate(bundle, data, tmp_path / "t.csv", options=FP32)
    assert summary["ablation"]["parts"]["no_tokens"]["mean"] == 0
    assert summary["mean"]["mean"] == pytest.approx(1)


def test_the_silenced_network_decides_no_precision(bundle, data, tmp_path, monkeypatch):
    """What is kept of a model's precision is of the whole network."""
    asked = []
    real = load_model(bundle, device="cpu").__class__.with_precision

    def note(self, precision):
        asked.append(precision)
        return real(self, precision)

    monkeypatch.setattr(
        "MedLLMSegLib.segmentation.loaded_segmenter.SegmenterModel.with_precision", note
    )
    summary = evaluate(bundle, data, tmp_path / "t.csv", options=replace(FP32, precision="auto"))
    assert asked[-1:] == summary["precision"]


@pytest.mark.parametrize(
    "command, words",
    [
        ("--model cxr-pneumonia --data d --output o.csv", "--ablate is for segmentation"),
        ("--compare a.csv b.csv", "--ablate is for measuring"),
    ],
)
def test_where_it_does_not_belong(command, words, capsys):
    assert cli.main(["evaluate", "--ablate", *command.split()]) == 2
    assert words in capsys.readouterr().err
