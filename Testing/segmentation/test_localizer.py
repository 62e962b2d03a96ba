"""The localizer and its views of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, covering_grid, transform_points
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation.localizer_network import (
    CLASSES,
    MIRRORED,
    LocalizerConfig,
    LocalizerNet,
)
from MedLLMSegLib.segmentation import localizer as localizer_module
from MedLLMSegLib.segmentation.kept_precision import Precision
from MedLLMSegLib.segmentation.localizer import (
    BATCH_VOX,
    CoarseScan,
    HeadView,
    Localizer,
    predict_views,
    to_unit_range,
)


def test_the_mirrored_view_comes_back_with_axes_and_sides_restored():
    class Halves(torch.nn.Module):
        """Calls the left half of the picture left cerebrum and the right half right cerebrum,
        whatever it shows.
        """

        config = LocalizerConfig()

        def forward(self, image):
            logits = torch.zeros(len(image), 6, *image.shape[2:])
            logits[:, 3, ..., :16], logits[:, 4, ..., 16:] = 9.0, 9.0
            return logits

    image = np.zeros((32, 32, 32), np.float32)
    views = (HeadView(image), HeadView(image, mirrored=True))
    plain, mirrored = predict_views(views, Halves(), "cpu")
    np.testing.assert_allclose(plain, mirrored, atol=1e-6)


class Watched(torch.nn.Module):
    """An untrained network that notes the shapes it was called with."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = LocalizerNet(LocalizerConfig(channels=(4, 8, 8))).eval()
        self.config = self.network.config
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image):
        self.shapes.append(tuple(image.shape))
        return self.network(image)


def test_a_view_among_others_gives_what_it_gives_alone(monkeypatch):
    rng, watched = np.random.default_rng(0), Watched()
    views = [
        HeadView(rng.random((10, 13, 16), np.float32), mirrored) for mirrored in (0, 1, 0, 1, 1)
    ]
    monkeypatch.setattr(localizer_module, "BATCH_VOX", 2 * 12 * 16 * 16)
    together = list(predict_views(views, watched, "cpu"))
    assert [shape[0] for shape in watched.shapes] == [2, 2, 1]
    monkeypatch.setattr(localizer_module, "BATCH_VOX", 1)
    for view, probabilities in zip(views, together, strict=True):
        (alone,) = predict_views([view], watched, "cpu")
        assert probabilities.shape == (6, 10, 13, 16)
        np.testing.assert_allclose(probabilities, alone, atol=1e-6)
    assert np.abs(together[0] - together[2]).max() > 1e-3  # the network does look at the image


@pytest.mark.parametrize("edge, at_once", [(64, 4), (80, 2), (84, 1)])
def test_large_views_go_through_the_network_one_by_one(edge, at_once):
    class Instant(Watched):
        def forward(self, image):
            self.shapes.append(tuple(image.shape))
            return torch.zeros(len(image), 6, *image.shape[2:])

    instant = Instant()
    views = [HeadView(np.zeros((edge, edge, edge), np.float32))] * 4
    assert len(list(predict_views(views, instant, "cpu"))) == 4
    assert {shape[0] for shape in instant.shapes} == {at_once}
    assert at_once * edge**3 <= BATCH_VOX


@pytest.mark.parametrize("spacing_mm", [(0.7, 1.6, 3.4), (1.4, 0.6, 0.75), (4.0, 4.0, 4.0)])
def test_a_coarse_scan_has_its_values_where_they_were(spacing_mm):
    """A ramp's mean over a block is its value at the block's centre."""
    i_mm, j_mm, k_mm = spacing_mm
    matrix = np.array([[0, j_mm, 0, 5], [-i_mm, 0, 0, 7], [0, 0, k_mm, -30], [0, 0, 0, 1.0]])

    def ramp(ijk_to_ras, shape):
        indices = np.moveaxis(np.indices(shape)[::-1], 0, -1).reshape(-1, 3)  # (n, 3) of i, j, k
        return (transform_points(ijk_to_ras, indices) @ (1.0, 10.0, 100.0)).reshape(shape)

    scan = Volume(ramp(matrix, (20, 25, 31)).astype(np.float32), matrix)
    coarse = CoarseScan.of(scan, 3.0)
    assert all(1.5 < mm < 6 for mm in coarse.grid.spacing_mm)
    np.testing.assert_allclose(
        coarse.array, ramp(coarse.grid.ijk_to_ras, coarse.grid.shape), atol=0.01
    )
    assert coarse.darkest == scan.array.min() < coarse.array.min() + 0.01


def test_beyond_the_scan_a_view_shows_the_scans_darkest_value():
    fine = np.full((30, 30, 30), 10.0, np.float32)
    fine[4, 4, 4] = -5.0  # lost in the mean of its block
    coarse = CoarseScan.of(Volume(fine, np.eye(4)), 3.0)
    wide = covering_grid(Grid((60, 60, 60), np.eye(4)), 3.0)
    seen = coarse.sample(wide)
    assert seen[0, 0, 0] == 1.0
    assert seen[-1, -1, -1] == 0.0


@pytest.mark.parametrize("precision", ("fp32", "bf16"))
def test_the_network_is_called_in_the_precision_that_was_asked_for(precision):
    seen = []

    class Looking(Watched):
        def forward(self, image):
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(image)

    view = HeadView(np.random.default_rng(0).random((16, 16, 16), np.float32))
    (probabilities,) = predict_views([view], Looking(), "cpu", precision)
    assert seen == [precision == "bf16"]
    assert probabilities.dtype == np.float32


def test_weights_of_no_bundle_run_in_fp32_unless_asked_for(monkeypatch):
    monkeypatch.setattr(localizer_module, "decide", lambda *_: pytest.fail("nothing to keep"))
    untrained = Localizer(LocalizerNet(LocalizerConfig(channels=(4, 8))))
    image = np.zeros((16, 16, 16), np.float32)
    assert untrained.precision_for(image, "cpu").name == "fp32"


@pytest.mark.usefixtures("has_bf16")
def test_the_precision_is_decided_on_the_padded_head(monkeypatch):
    known = Localizer(LocalizerNet(LocalizerConfig(channels=(4, 8, 8))), sha256="ab" * 32)
    seen = []

    def decide(subject, array, window, progress):
        seen.append((subject.sha256, subject.requested, array.shape))
        return Precision("bf16", "It was measured.")

    monkeypatch.setattr(localizer_module, "decide", decide)
    image = np.zeros((15, 16, 18), np.float32)
    assert known.precision_for(image, "cpu", "auto").name == "bf16"
    assert seen == [("ab" * 32, "auto", (16, 16, 20))]
    with pytest.raises(UserError, match="fp64"):
        known.precision_for(image, "cpu", "fp64")


def test_mirrored_classes_are_an_exchange_of_sides():
    for number, name in enumerate(CLASSES):
        other = CLASSES[MIRRORED[number]]
        assert other == name.replace("left", "?").replace("right", "left").replace("?", "right")


def test_normalising_ignores_a_few_extreme_voxels_and_survives_a_constant():
    image = np.random.default_rng(0).uniform(0, 100, (20, 20, 20))
    image[0, 0, :3] = 1e9
    assert 0.4 < to_unit_range(image).mean() < 0.6
    assert np.all(to_unit_range(np.full((4, 4, 4), 7.0)) == 0)


def test_the_config_comes_back_from_json():
    import json

    config = LocalizerConfig(channels=(8, 16, 24))
    assert LocalizerConfig(**json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="channels"):
        LocalizerConfig(channels=(8,))
