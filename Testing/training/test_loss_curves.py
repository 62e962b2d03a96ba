"""Trainings learn as version 0.3's did: fifty steps of each, against recorded losses.

The losses of loss_curves.json are a classifier's from the loop of its own that 0.3 had. They were
recorded with AVX-512; other instructions add in another order, and fifty steps make more of it.
"""

import json
from pathlib import Path

import pytest
import torch

from Testing.helpers.loss_curves import CURVES, STEPS, curve
from Testing.helpers.places import DATA

ALIKE = 5  # steps, on any processor
RECORDED = json.loads((Path(__file__).parent / "loss_curves.json").read_text())["curves"]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"NOT TESTED: {DATA} is absent")
@pytest.mark.parametrize("name", CURVES)
def test_it_learns_as_in_version_0_3(name):
    found, recorded = curve(name, DATA), RECORDED[name]
    assert len(found["loss"]) == STEPS
    exact = torch.backends.cpu.get_cpu_capability() == "AVX512"
    first = STEPS if exact else ALIKE
    # 5 digits are kept
    assert found["loss"][:first] == pytest.approx(recorded["loss"][:first], rel=1e-4, abs=1e-5)
    assert found["loss"] == pytest.approx(recorded["loss"], rel=0.1)
    assert ("val_auc" in found) == ("val_auc" in recorded)
    if "val_auc" in recorded:
        assert found["val_auc"] == pytest.approx(recorded["val_auc"], abs=1e-5 if exact else 0.05)
