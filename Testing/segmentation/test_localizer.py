"""The localizer and its views of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MedLLMSegLib.networks.segmentation.localizer_network import CLASSES, MIRRORED, LocalizerConfig
from MedLLMSegLib.segmentation.localizer import HeadView, predict_views, to_unit_range


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
