"""An organ is located in a head and outlined in crops: each side, twice, where it is plausible."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError, segment
from MedLLMSegLib.segmentation import cascade
from Testing.helpers.bright_organ import (
    SETTINGS,
    BrightIsOrgan,
    bright_organ_model,
    bright_organ_scan,
)
from Testing.helpers.grids import GRIDS, dice, ellipsoid, make_grid

LOW_VOX, HIGH_VOX = [2, 3, 4], [9, 10, 12]


class Recording(BrightIsOrgan):
    """Also remembers, of each image, how many voxels lie before and behind what is bright."""

    def __init__(self):
        super().__init__()
        self.margins = []

    def forward(self, image):
        bright = (image[0, 0] > (image.min() + image.max()) / 2).nonzero()  # (n, 3) of k, j, i
        before = bright.min(0).values
        behind = torch.tensor(image.shape[2:]) - 1 - bright.max(0).values
        self.margins.append((before.tolist(), behind.tolist()))
        return super().forward(image)


def test_the_second_crop_has_the_margins_of_the_training_on_the_side_where_they_belong(head):
    volume, _ = head
    network = Recording()
    settings = {**SETTINGS, "margin_low_vox": LOW_VOX, "margin_high_vox": HIGH_VOX}
    segment(
        volume, replace(bright_organ_model(localizer=object()), network=network, settings=settings)
    )
    assert network.margins[1::2] == [(LOW_VOX, HIGH_VOX)] * 2  # each side's second look


def test_a_head_gets_both_sides_with_their_own_labels(head):
    volume, masks = head
    result = segment(volume, bright_organ_model(localizer=object()))
    for side, labels in (("left", (1, 2)), ("right", (3, 4))):
        assert dice(np.isin(result.labels.array, labels), masks[side]) > 0.9
    assert result.structures[0].name == "Left hippocampus (anterior)"
    assert not result.notes


def test_one_side_alone_can_be_asked_for(head):
    result = segment(head[0], bright_organ_model(localizer=object()), side="right")
    assert set(np.unique(result.labels.array)) == {0, 3, 4}


def test_a_side_without_organ_is_named_and_left_out(head):
    volume, masks = head
    result = segment(
        volume.with_array(masks["left"] * 900.0 + 100), bright_organ_model(localizer=object())
    )
    assert set(np.unique(result.labels.array)) == {0, 1, 2}
    assert "right hippocampus was not found" in result.notes[0]


def test_an_outline_far_from_where_the_organ_was_seen_is_left_out(head, monkeypatch):
    volume, masks = head
    grid = volume.grid
    elsewhere = ellipsoid(
        grid, centre=(-28.0, -1.0, 4.0), radii=(6, 11, 8)
    )  # 19 mm in front of where it was seen
    scan = volume.with_array((elsewhere | masks["right"]) * 900.0 + 100)
    result = segment(scan, bright_organ_model(localizer=object()))
    assert set(np.unique(result.labels.array)) == {0, 3, 4}
    assert "left hippocampus was not found" in result.notes[0]


def test_an_empty_second_look_falls_back_on_the_first(head, monkeypatch):
    real, calls = cascade.outline, []

    def outline(*arguments, **options):
        calls.append(1)
        result = real(*arguments, **options)
        if len(calls) % 2 == 0:  # every second look finds nothing
            empty = np.zeros_like(result.probabilities)
            empty[0] = 1
            return replace(result, probabilities=empty)
        return result

    monkeypatch.setattr(cascade, "outline", outline)
    result = segment(head[0], bright_organ_model(localizer=object()))
    assert set(np.unique(result.labels.array)) == {0, 1, 2, 3, 4}


def test_a_crop_without_organ_is_refused():
    grid = make_grid()
    with pytest.raises(UserError, match="No hippocampus was found"):
        segment(bright_organ_scan(grid, radii=(2, 2, 2)), bright_organ_model())


def test_crops_are_seen_on_the_scale_that_the_model_was_trained_on():
    """The network sees what `prepare` gives it: here the range 0 to 500, minus 100, divided by
    200.
    """
    seen = []

    class Listening(BrightIsOrgan):
        def forward(self, image):
            seen.append((float(image.min()), float(image.max())))
            return super().forward(image)

    fixed = replace(
        bright_organ_model(),
        settings=SETTINGS | {"grey": [0.0, 500.0, 100.0, 200.0]},
        network=Listening(),
    )
    segment(bright_organ_scan(GRIDS["anisotropic"]), fixed, side="left")
    assert seen
    assert all(low == 0 and high == 2 for low, high in seen)
