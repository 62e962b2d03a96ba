"""A stand-in for the hippocampus model: bright voxels are the organ, so every place is known."""

import torch

from MedLLMSegLib import Volume
from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.segmentation.pipeline import SegmenterModel
from Testing.helpers.grids import ellipsoid

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


def bright_organ_model(localizer=None):
    entry = ModelEntry("stand-in", "", "segmenter", "", (), "", "", "0" * 64, None)
    return SegmenterModel(
        entry,
        BrightIsOrgan(),
        SETTINGS,
        "hippocampus",
        localizer,
        torch.device("cpu"),
        "0" * 64,
        precision="fp32",
    )


def bright_organ_scan(grid, **shape):
    return Volume(ellipsoid(grid, **shape) * 900.0 + 100, grid.ijk_to_ras, "crop")
