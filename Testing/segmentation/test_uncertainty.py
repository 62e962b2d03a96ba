"""Views and the uncertainty map: views are undone, and errors look unsure."""

import numpy as np
import pytest
import torch

from MedLLMSegLib import Volume, segment
from MedLLMSegLib.anatomy.structures import uncoded_structures
from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.segmentation.pipeline import SegmenterModel
from MedLLMSegLib.segmentation.restore import softmax
from MedLLMSegLib.segmentation.uncertainty import (
    View,
    entropy,
    make_views,
    mean_probabilities,
)
from Testing.helpers.bright_organ import bright_organ_model, bright_organ_scan
from Testing.helpers.grids import GRIDS, ellipsoid

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)


def test_entropy_runs_from_sure_to_unsure():
    values = np.array(
        [[1.0, 0.25, 0.5], [0.0, 0.25, 0.5], [0.0, 0.25, 0.0], [0.0, 0.25, 0.0]], np.float32
    )
    assert entropy(values.reshape(4, 1, 1, 3)).ravel() == pytest.approx([0, 1, 0.5], abs=1e-6)


def test_softmax_with_a_temperature_can_work_in_place():
    logits = RNG.normal(size=(3, 4, 5, 6)).astype(np.float32) * 5
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum(0)
    assert np.allclose(softmax(logits, 2.0), expected, atol=1e-6)
    assert softmax(logits, 2.0, out=logits) is logits
    assert np.allclose(logits, expected, atol=1e-6)


class Voxelwise(torch.nn.Module):
    def forward(self, image):  # (B, 1, K, J, I) -> (B, 2, K, J, I)
        return torch.cat((image, -image), 1)


@pytest.mark.parametrize(
    "view", (View(), View(flips=(0, 2)), View(shift_vox=(1, 0, 3)), View((1,), (2, 3, 0)))
)
def test_what_a_view_does_is_undone(view):
    array = RNG.normal(size=(9, 12, 10)).astype(np.float32)
    values = mean_probabilities(Voxelwise(), array, CPU, views=(view,))
    assert np.allclose(values, mean_probabilities(Voxelwise(), array, CPU), atol=1e-6)
    assert view.apply(array).shape == tuple(
        n + s for n, s in zip(array.shape, view.shift_vox, strict=True)
    )


def test_another_contrast_keeps_order_mean_and_spread():
    array = RNG.normal(2, 3, size=(9, 12, 10)).astype(np.float32)
    seen = View(gamma=0.8).apply(array)
    assert np.array_equal(seen.ravel().argsort(), array.ravel().argsort())
    assert not np.allclose(seen, array, atol=0.05)
    assert (seen.mean(), seen.std()) == pytest.approx((array.mean(), array.std()), abs=1e-3)


def test_views_are_the_same_each_time_and_mirror_only_where_they_may():
    views = make_views(8, (20, 40, 8))
    assert views == make_views(8, (20, 40, 8))
    assert len(set(views)) == 9
    assert views[0] == View()
    assert all(v.flips == () and v.shift_vox[2] == 0 for v in views)  # thick slices are not shifted
    assert any(v.shift_vox[0] for v in views)
    assert any(v.gamma != 1 for v in views)
    assert {v.flips for v in make_views(8, (20, 40, 8), flips=(1, 2))} == {(), (1,), (2,), (1, 2)}


class Lopsided(torch.nn.Module):
    """Bright is class 1, but in the last third along i it cannot tell: what it says there hangs
    on how it is shown.
    """

    def forward(self, image):  # (B, 1, K, J, I) -> (B, 2, K, J, I)
        place = torch.arange(image.shape[-1]).expand_as(image)
        guess = torch.where(place % 4 < 2, 1.0, -1.0)
        score = torch.where(place < image.shape[-1] * 2 / 3, image - 1, guess) * 8
        return torch.cat((-score, score), 1)


def test_more_views_show_what_one_view_is_wrongly_sure_of(monkeypatch):
    monkeypatch.setattr(
        "MedLLMSegLib.segmentation.prepare.normalise_in_place", lambda array, grey: None
    )
    scan = Volume(RNG.integers(0, 2, (20, 24, 48)).astype(np.float32) * 2, np.eye(4), "noise")
    entry = ModelEntry("x", "", "segmenter", "", (), "", "", "0" * 64, None)
    model = SegmenterModel(
        entry,
        Lopsided(),
        {"spacing_mm": 1.0},
        None,
        None,
        CPU,
        "0" * 64,
        uncoded_structures({1: "bright"}),
        precision="fp32",
    )
    once = segment(scan, model, uncertainty=True)
    often = segment(scan, model, uncertainty=True, augment=6)
    assert (
        once.uncertainty.array.max() < 0.05
    )  # sure of everything, and wrong in every second voxel of the last third
    wrong = often.labels.array != (scan.array > 1)
    assert 0.1 < wrong.mean() < 0.2
    assert often.uncertainty.array.shape == scan.array.shape
    assert often.uncertainty.array[wrong].mean() > 0.5
    assert often.uncertainty.array[..., :30].mean() < 0.05


def test_the_cascade_has_an_uncertainty_map_too():
    grid = GRIDS["oblique"]
    result = segment(
        bright_organ_scan(grid), bright_organ_model(), uncertainty=True, augment=2, side="left"
    )
    unsure, organ = result.uncertainty.array, ellipsoid(grid)
    assert unsure.dtype == np.float32
    assert unsure.min() >= 0
    assert unsure.max() <= 1
    rim = organ ^ (result.labels.array > 0)
    assert unsure[rim].mean() > 3 * unsure[~rim].mean()
    assert segment(bright_organ_scan(grid), bright_organ_model()).uncertainty is None
