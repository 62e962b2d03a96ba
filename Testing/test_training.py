"""From labelled crops to a bundle that segments, at toy size: 6 bright ellipsoids, a tiny network, a minute at most."""
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError, load_volume, save_volume
from MedLLMSegLib.bundle import read_bundle
from MedLLMSegLib.cases import split_ids
from MedLLMSegLib.config import OURS
from MedLLMSegLib.training.augment import noise_case, training_transform
from MedLLMSegLib.training.data import find_cases, plan_preprocessing, prepare_case
from MedLLMSegLib.training.export import export_bundle
from MedLLMSegLib.training.loop import TrainConfig, Trainer, schedule, update_average
from MedLLMSegLib.training.losses import SegmentationLoss
from MedLLMSegLib.volume import Volume

TINY = replace(OURS, stem_channels=(4, 8, 8), width=24, heads=2, depth=1)
PLAN = TrainConfig(epochs=2, window=(16, 24, 16), validate_every=1, warmup_steps=2, bf16=False)


@pytest.fixture
def data(tmp_path):
    """Six crops of 24 x 32 x 24 mm with an ellipsoid whose front half is label 1 and back half label 2."""
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    k, j, i = np.ogrid[:24, :32, :24]
    for n in range(6):
        centre = rng.uniform((10, 14, 10), (14, 18, 14))
        inside = sum(((a - c) / r) ** 2 for a, c, r in zip((k, j, i), centre, (5, 9, 5))) <= 1
        labels = np.where(inside, np.where(j > centre[1], 1, 2), 0).astype(np.uint8)
        image = (100 * inside + 10 * rng.normal(size=inside.shape)).astype(np.float32)
        save_volume(Volume(image, np.eye(4)), folder / f"imagesTr/case{n}.nii.gz")
        save_volume(Volume(labels, np.eye(4)), folder / f"labelsTr/case{n}.nii.gz")
    names = [f"case{n}" for n in range(6)]
    (folder / "splits.json").write_text(json.dumps({"train": names[:4], "val": names[4:5], "test": names[5:]}))
    return folder


def test_a_killed_training_goes_on_to_the_same_weights(data, tmp_path):
    Trainer(TINY, PLAN, data, tmp_path / "whole").run()

    class Killed(Exception):
        pass

    def kill(row, fraction):
        raise Killed

    with pytest.raises(Killed):
        Trainer(TINY, PLAN, data, tmp_path / "parts").run(kill)
    again = Trainer(TINY, PLAN, data, tmp_path / "parts")
    again.run()
    assert [h["epoch"] for h in again.history] == [1, 2]
    one, other = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("whole", "parts"))
    assert all(torch.allclose(one["weights"][k], other["weights"][k], atol=1e-5) for k in one["weights"])
    assert [h["loss"] for h in one["history"]] == pytest.approx([h["loss"] for h in other["history"]], abs=1e-4)
    with pytest.raises(UserError, match="other settings"):
        Trainer(TINY, replace(PLAN, epochs=3), data, tmp_path / "parts").run()


def test_a_run_becomes_a_bundle_with_what_was_measured(data, tmp_path):
    Trainer(TINY, PLAN, data, tmp_path / "run").run()
    folder = export_bundle(tmp_path / "run", tmp_path / "bundle")
    about = read_bundle(folder).metadata
    assert about["accuracy"] == "not measured" and "Nothing has been measured" in (folder / "docs/README.md").read_text()
    assert about["preprocessing"]["plausible_ml"][0] < 0.94 < about["preprocessing"]["plausible_ml"][1]
    assert not [k for k in read_bundle(folder).tensors if k.startswith("llm.llm")]  # never the language model's
    figures = {"mean": 0.5, "sd": 0.1, "low": 0.4, "high": 0.6, "n": 1, "median": 0.5}
    summary = {"cases": 1, "structures": {"anterior": figures}, "mean": figures, "weights_sha256": about["weights_sha256"]}
    (tmp_path / "s.json").write_text(json.dumps(summary))
    folder = export_bundle(tmp_path / "run", tmp_path / "bundle", tmp_path / "s.json")
    assert "| anterior | 0.500 |" in (folder / "docs/README.md").read_text()
    (tmp_path / "s.json").write_text(json.dumps({**summary, "weights_sha256": "0"}))
    with pytest.raises(UserError, match="other weights"):
        export_bundle(tmp_path / "run", tmp_path / "bundle", tmp_path / "s.json")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="no model bundle"):
        export_bundle(tmp_path / "run", tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").exists()
    with pytest.raises(UserError, match="no finished training"):
        export_bundle(tmp_path, tmp_path / "other")


def test_margins_and_volumes_are_those_of_the_cases(data):
    cases = [prepare_case(c, 1.0) for c in find_cases(data, split_ids(data, "train"))]
    plan = plan_preprocessing(cases, 1.0)
    boxes = [np.argwhere(c["label"][0].numpy() > 0) for c in cases]
    assert plan["margin_low_vox"] == [int(round(m)) for m in np.mean([b.min(0) for b in boxes], 0)]
    assert plan["margin_high_vox"] == [int(round(m)) for m in np.mean([(24, 32, 24) - b.max(0) - 1 for b in boxes], 0)]
    assert plan["plausible_ml"][0] == pytest.approx(min(len(b) for b in boxes) / 2000, abs=0.01)


def test_augmentation_moves_image_and_label_together_and_repeats_by_seed(data):
    case = prepare_case(find_cases(data, ["case0"])[0], 1.0)
    one, two, other = (training_transform((16, 24, 16), 3, seed) for seed in (1, 1, 2))
    for _ in range(8):
        a, b, c = one(case), two(case), other(case)
        assert a["image"].shape == a["label"].shape == (1, 16, 24, 16)
        assert np.array_equal(a["image"], b["image"]) and not np.array_equal(a["image"], c["image"])
        assert set(np.unique(a["label"])) <= {0, 1, 2}
        inside = np.asarray(a["label"]) > 0
        assert np.asarray(a["image"])[inside].mean() > np.asarray(a["image"])[~inside].mean() + 1


def test_noise_cases_hold_no_organ():
    case = noise_case((8, 8, 8), np.random.default_rng(0))
    assert case["label"].sum() == 0 and abs(float(case["image"].std()) - 1) < 0.01


def test_the_loss_has_a_gradient_that_improves_it():
    logits = torch.zeros(1, 3, 8, 8, 8, requires_grad=True)
    labels = torch.zeros(1, 1, 8, 8, 8)
    labels[..., 2:5] = 1
    before = SegmentationLoss()(logits, labels)
    before.backward()
    assert logits.grad.abs().max() > 0
    assert SegmentationLoss()(logits.detach() - 100 * logits.grad, labels) < before
    assert SegmentationLoss()(20 * torch.nn.functional.one_hot(labels[:, 0].long(), 3).movedim(-1, 1).float(), labels) < 1.1


def test_the_schedule_warms_up_and_falls():
    rates = [schedule(n, 100, 10) for n in range(100)]
    assert rates[0] == 0.1 and max(rates) == 1 and rates[-1] < 0.02 and rates[10:] == sorted(rates[10:], reverse=True)


def test_the_average_follows_slowly():
    network = torch.nn.Linear(2, 2)
    average = {k: torch.zeros_like(v) for k, v in network.state_dict().items()}
    update_average(average, network, 0.9)
    assert torch.allclose(average["weight"], 0.1 * network.weight)


def test_labels_on_another_grid_are_refused(data):
    image = load_volume(data / "imagesTr/case0.nii.gz")
    save_volume(Volume(image.array[:-1].astype(np.uint8), np.eye(4)), data / "labelsTr/case0.nii.gz")
    with pytest.raises(UserError, match="case0"):
        prepare_case(find_cases(data, ["case0"])[0], 1.0)
