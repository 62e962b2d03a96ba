"""What is decided on val when a training is finished: stray parts go where they are errors, and stay where they are not."""
import json

import numpy as np
import pytest
import torch
from torch import nn

from MedLLMSegLib.training import calibrate as unit
from MedLLMSegLib.training.calibrate import calibrate, largest_part

NO = float("nan")


@pytest.mark.parametrize("scores, kept", [
    ([[[0.8, 0.9], [0.9, 0.9]], [[0.7, 0.9], [0.7, 0.9]]], True),
    ([[[0.8, 0.9], [0.8, 0.9]]], False),  # no better
    ([[[0.8, 0.9], [0.95, 0.89]]], False),  # better in the mean, but one structure has parts
    ([[[0.5, NO], [0.7, NO]], [[NO, NO], [NO, NO]]], True),  # a structure that no case has says nothing
    ([[[NO], [NO]]], False),
])
def test_the_largest_part_is_kept_where_no_structure_loses(scores, kept):
    assert largest_part(np.array(scores))["kept"] is kept


class Shades(nn.Module):
    """Bright voxels are the structure."""

    def forward(self, image):
        return 8 * torch.cat((0.5 - image, image - 0.5), dim=1)


@pytest.mark.parametrize("true_parts, kept", [(1, True), (2, False)])
def test_stray_parts_are_seen_on_val(tmp_path, monkeypatch, true_parts, kept):
    monkeypatch.setattr(unit, "fill_best", lambda network, run: {"step": 7})
    image = np.zeros((1, 12, 16, 16), np.float32)
    image[0, 2:8, 2:8, 2:8] = 1
    label = (image > 0).astype(np.uint8)
    image[0, 9:11, 12:14, 12:14] = 1
    if true_parts == 2:
        label = (image > 0).astype(np.uint8)
    arguments = (tmp_path, Shades(), [{"image": image, "label": label}], torch.device("cpu"), (32, 32, 32))
    found = calibrate(*arguments)
    assert found["largest_part"]["kept"] is kept and found["from_step"] == 7 and found["temperature"] > 0
    dice = 2 * 216 / (216 + 224) if kept else 1.0
    assert found["largest_part"]["dice_all"] == pytest.approx(dice, abs=1e-4)
    written = tmp_path / unit.CALIBRATION
    written.write_text(json.dumps({**found, "temperature": 3.0}))
    assert calibrate(*arguments)["temperature"] == 3.0  # the same weights are not fitted twice
    written.write_text(json.dumps({"temperature": 3.0, "cases": 1, "from_step": 7}))
    assert calibrate(*arguments) == found  # an older file, which does not say it
