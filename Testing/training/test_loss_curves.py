"""Trainings learn as version 0.3's did: fifty steps of each, against recorded losses.

The losses of loss_curves.json are a classifier's from the loop of its own that 0.3 had.
"""

import json
from pathlib import Path

import pytest

from Testing.helpers.loss_curves import CURVES, STEPS, curve
from Testing.helpers.places import DATA

RECORDED = json.loads((Path(__file__).parent / "loss_curves.json").read_text())["curves"]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"NOT TESTED: {DATA} is absent")
@pytest.mark.parametrize("name", CURVES)
def test_it_learns_as_in_version_0_3(name):
    found, recorded = curve(name, DATA), RECORDED[name]
    assert len(found["loss"]) == STEPS
    assert found["loss"] == pytest.approx(recorded["loss"], rel=1e-4, abs=1e-5)  # 5 digits are kept
    assert found.get("val_auc") == (
        pytest.approx(recorded["val_auc"], abs=1e-5) if "val_auc" in recorded else None
    )
