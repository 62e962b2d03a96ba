"""The second look at an organ: a crop with the margins that the training crops had."""

from dataclasses import replace

import torch

from MedLLMSegLib import segment
from Testing.segmentation.test_pipeline import SETTINGS, BrightIsOrgan, head, model  # noqa: F401

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


def test_the_second_crop_has_the_margins_of_the_training_on_the_side_where_they_belong(head):  # noqa: F811
    volume, _ = head
    network = Recording()
    settings = {**SETTINGS, "margin_low_vox": LOW_VOX, "margin_high_vox": HIGH_VOX}
    segment(volume, replace(model(localizer=object()), network=network, settings=settings))
    assert network.margins[1::2] == [(LOW_VOX, HIGH_VOX)] * 2  # each side's second look
