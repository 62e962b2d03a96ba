"""`segment` with a network that needs no weights: bright voxels are the organ, so that every
place is known.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import Cancelled, UserError, Volume, segment
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.segmentation import cascade
from MedLLMSegLib.segmentation.localize import Location
from MedLLMSegLib.segmentation.pipeline import SegmenterModel
from Testing.helpers.grids import GRIDS, dice, ellipsoid, make_grid

SETTINGS = {
    "spacing_mm": 1.0,
    "search_shape": [48, 64, 48],
    "margin_low_vox": [5, 5, 6],
    "margin_high_vox": [5, 6, 8],
    "plausible_ml": [1.2, 9.0],
}


class BrightIsOrgan(torch.nn.Module):
    """Class 1 where bright and in front (j above the middle), class 2 where bright behind."""

    def forward(self, image):  # (B, 1, K, J, I) -> (B, 3, K, J, I)
        bright = image[:, 0] - (image.min() + image.max()) / 2
        organ = bright > 0
        j = torch.arange(image.shape[3], device=image.device)[None, None, :, None].expand_as(bright)
        middle = (j * organ).sum() / organ.sum().clamp(min=1)
        front = (j > middle).float()
        return 20 * torch.stack((-bright, bright + front - 1, bright - front), 1)


def model(localizer=None):
    entry = ModelEntry("stand-in", "", "segmenter", "", (), "", "", "0" * 64, None)
    return SegmenterModel(
        entry, BrightIsOrgan(), SETTINGS, "hippocampus", localizer, torch.device("cpu"), "0" * 64
    )


def scan(grid, **shape):
    return Volume(ellipsoid(grid, **shape) * 900.0 + 100, grid.ijk_to_ras, "crop")


@pytest.mark.parametrize("side", (None, "left", "right"))
@pytest.mark.parametrize(
    "name",
    (
        "flipped (-1, 1, -1)",
        "permuted (2, 0, 1)",
        "anisotropic",
        "oblique",
        "oblique, flipped, permuted, anisotropic",
    ),
)
def test_a_crop_is_segmented_where_it_lies(name, side):
    grid = GRIDS[name]
    result = segment(scan(grid), model(), side=side)
    assert result.labels.array.shape == grid.shape and np.array_equal(
        result.labels.ijk_to_ras, grid.ijk_to_ras
    )
    assert dice(result.labels.array > 0, ellipsoid(grid)) > 0.87
    first = 3 if side == "right" else 1
    assert set(np.unique(result.labels.array)) == {0, first, first + 1}
    place = {
        v: transform_points(grid.ijk_to_ras, np.argwhere(result.labels.array == v)[:, ::-1]).mean(0)
        for v in (first, first + 1)
    }
    assert place[first][1] > place[first + 1][1]  # the anterior part lies further along +A
    assert [s.key for s in result.structures][:1] == (["left_anterior"] if side else ["anterior"])


def test_volumes_are_in_millilitres():
    grid = make_grid(spacing=(0.5, 1.0, 2.0))
    result = segment(scan(grid), model())
    assert sum(result.volumes_ml.values()) == pytest.approx(
        4 / 3 * np.pi * 6 * 11 * 8 / 1000, rel=0.05
    )
    assert all(0.5 < c <= 1 for c in result.confidence.values())


def test_probabilities_lie_on_the_scan_and_agree_with_the_labels():
    grid = GRIDS["oblique"]
    result = segment(scan(grid), model(), probabilities=True)
    maps = result.probabilities.array
    assert (
        maps.shape == (2, *grid.shape)
        and maps.dtype == np.float32
        and maps.min() >= 0
        and maps.max() <= 1.0001
    )
    inside = result.labels.array > 0
    assert np.array_equal(maps.argmax(0)[inside] + 1, result.labels.array[inside])


@pytest.fixture
def head(monkeypatch):
    """A field of 140 mm with a bright ellipsoid on either side, and a localizer that is a few mm
    off.
    """
    grid = make_grid(
        order=(1, 0, 2), flips=(1, -1, 1), spacing=(1.0, 0.8, 1.5), field_mm=140.0, centre=(0, 0, 0)
    )
    places = {"left": (-28.0, -20.0, 4.0), "right": (30.0, -22.0, 2.0)}
    masks = {s: ellipsoid(grid, centre=c) for s, c in places.items()}
    locations = tuple(
        Location(s, tuple(np.array(c) + np.array([3, -4, 2])), 0.9, 3.0) for s, c in places.items()
    )
    monkeypatch.setattr(cascade, "localize", lambda *a: locations)
    return Volume((masks["left"] | masks["right"]) * 900.0 + 100, grid.ijk_to_ras, "head"), masks


def test_a_head_gets_both_sides_with_their_own_labels(head):
    volume, masks = head
    result = segment(volume, model(localizer=object()))
    for side, labels in (("left", (1, 2)), ("right", (3, 4))):
        assert dice(np.isin(result.labels.array, labels), masks[side]) > 0.9
    assert result.structures[0].name == "Left hippocampus (anterior)" and not result.notes


def test_one_side_alone_can_be_asked_for(head):
    result = segment(head[0], model(localizer=object()), side="right")
    assert set(np.unique(result.labels.array)) == {0, 3, 4}


def test_a_side_without_organ_is_named_and_left_out(head):
    volume, masks = head
    result = segment(volume.with_array(masks["left"] * 900.0 + 100), model(localizer=object()))
    assert set(np.unique(result.labels.array)) == {0, 1, 2}
    assert "right hippocampus was not found" in result.notes[0]


def test_an_outline_far_from_where_the_organ_was_seen_is_left_out(head, monkeypatch):
    volume, masks = head
    grid = volume.grid
    elsewhere = ellipsoid(
        grid, centre=(-28.0, -1.0, 4.0), radii=(6, 11, 8)
    )  # 19 mm in front of where it was seen
    scan = volume.with_array((elsewhere | masks["right"]) * 900.0 + 100)
    result = segment(scan, model(localizer=object()))
    assert (
        set(np.unique(result.labels.array)) == {0, 3, 4}
        and "left hippocampus was not found" in result.notes[0]
    )


def test_an_empty_second_look_falls_back_on_the_first(head, monkeypatch):
    real, calls = cascade.outline_organ, []

    def outline(*arguments):
        calls.append(1)
        result = real(*arguments)
        if len(calls) % 2 == 0:  # every second look finds nothing
            empty = np.zeros_like(result.probabilities)
            empty[0] = 1
            return cascade.OrganOutline(empty, result.way_back, result.side)
        return result

    monkeypatch.setattr(cascade, "outline_organ", outline)
    result = segment(head[0], model(localizer=object()))
    assert set(np.unique(result.labels.array)) == {0, 1, 2, 3, 4}


def test_a_crop_without_organ_is_refused():
    grid = make_grid()
    with pytest.raises(UserError, match="No hippocampus was found"):
        segment(scan(grid, radii=(2, 2, 2)), model())


def test_progress_rises_and_can_stop_the_work(head):
    seen = []
    segment(
        head[0],
        model(localizer=object()),
        progress=lambda stage, fraction: seen.append((stage, fraction)),
    )
    fractions = [f for _, f in seen]
    assert (
        fractions == sorted(fractions)
        and seen[-1] == ("done", 1.0)
        and len({s for s, _ in seen}) >= 4
    )

    def stop(stage, fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        segment(head[0], model(), progress=stop)


def test_other_sides_and_bad_scans_are_refused():
    with pytest.raises(UserError, match="no side"):
        segment(scan(make_grid()), model(), side="up")
    with pytest.raises(UserError, match="same value"):
        segment(Volume(np.ones((9, 9, 9)), np.eye(4)), model())


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
        model(), settings=SETTINGS | {"grey": [0.0, 500.0, 100.0, 200.0]}, network=Listening()
    )
    segment(scan(GRIDS["anisotropic"]), fixed, side="left")
    assert seen and all(low == 0 and high == 2 for low, high in seen)
