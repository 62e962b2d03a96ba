"""Toy cases, a tiny network and quick settings for the tests of a segmenter's training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from MedLLMSegLib import save_volume
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.network_config import OURS
from MedLLMSegLib.training.segmenter.case_recipe import case_trainer
from MedLLMSegLib.training.segmenter.train_config import TrainConfig

TINY = replace(OURS, stem_channels=(4, 8, 8), width=24, heads=2, depth=1, dropout=0.1)
QUICK = TrainConfig(
    steps=6,
    window=(16, 24, 16),
    validate_every=3,
    warmup_steps=2,
    precision="fp32",
    log_every=1,
    checkpoint_s=0.0,
    lr=2e-3,
)


def toy_scan(shape, radii, spread, noise, rng):
    """A bright ellipsoid in noise and its labels: the front half is 1, the back half 2."""
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    centre = np.array(shape) / 2 + rng.uniform(-spread, spread, 3)
    inside = sum(((a - c) / r) ** 2 for a, c, r in zip(grid, centre, radii, strict=True)) <= 1
    label = np.where(inside, np.where(grid[1] > centre[1], 1, 2), 0).astype(np.uint8)
    image = (2.0 * inside + noise * rng.normal(size=shape)).astype(np.float32)
    return image, label


def toy_cases(count=4, shape=(20, 28, 20)):
    """Prepared cases in memory."""
    rng, cases = np.random.default_rng(0), []
    for n in range(count):
        image, label = toy_scan(shape, (5, 9, 5), 2, 0.3, rng)
        cases.append(
            {
                "id": f"case{n}",
                "image": image[None],
                "label": label[None],
                "voxels": [np.argwhere(label == value) for value in (1, 2)],
            }
        )
    return cases


def write_toy_data(folder, shape=(16, 24, 16)):
    """Six scans with 1 mm voxels in the Decathlon layout: 4 to train, 1 to validate, 1 to test."""
    rng = np.random.default_rng(0)
    for n in range(6):
        image, label = toy_scan(shape, (4, 7, 4), 1, 0.2, rng)
        save_volume(Volume(50 * image, np.eye(4)), folder / f"imagesTr/case{n}.nii.gz")
        save_volume(Volume(label, np.eye(4)), folder / f"labelsTr/case{n}.nii.gz")
    names = [f"case{n}" for n in range(6)]
    splits = {"train": names[:4], "val": names[4:5], "test": names[5:]}
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    labels = {"0": "background", "1": "front", "2": "back"}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    return folder


def tiny_network(seed=0, dropout=TINY.dropout):
    torch.manual_seed(seed)
    return build_network(replace(TINY, dropout=dropout), resolve(TINY.llm.source, TINY.llm.layers))


def toy_trainer(output, config=QUICK, cases=None, dropout=TINY.dropout, **more):
    """A trainer of the tiny network that validates on the last case."""
    cases = cases or toy_cases()
    network = tiny_network(dropout=dropout)
    return case_trainer(
        network, 3, config, cases[:-1], cases[-1:], output, {"about": "toys"}, **more
    )


def loss_curve(run):
    """Step -> loss, from a run's history."""
    history = json.loads((Path(run) / "history.json").read_text(encoding="utf-8"))
    return {row["step"]: row["loss"] for row in history if "loss" in row}


class OneWeight(nn.Module):
    """One weight, and logits that are not a number from a given step on."""

    def __init__(self, bad_from=10**9):
        super().__init__()
        self.weight, self.calls, self.bad_from = nn.Parameter(torch.ones(1)), 0, bad_from

    def forward(self, x):
        self.calls += self.training
        value = float("nan") if self.calls > self.bad_from else 1.0
        return torch.cat((x, -x), 1) * self.weight * value
