"""A stand-in for a model of the brain: what is bright is hippocampus."""

import torch

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.segmentation.pipeline import SegmenterModel

HIPPOCAMPI = tuple(s for s in brain_structures() if s.label in (17, 53))
STEM = tuple(s for s in brain_structures() if s.label == 16)


class BrightIsHippocampus(torch.nn.Module):
    """Class 1 (brain stem) nowhere, class 2 (left) and 3 (right) where it is bright."""

    def forward(self, image):  # (B, 1, K, J, I), i from left to right -> (B, 4, K, J, I)
        bright = image[:, 0] - (image.min() + image.max()) / 2
        i = torch.arange(image.shape[4], device=image.device).expand_as(bright)
        right = (i >= image.shape[4] / 2).float()
        never = torch.full_like(bright, -9.0)
        return 20 * torch.stack((-bright, never, bright - right, bright + right - 1), 1)


def two_hippocampi_model(structures=(*STEM, *HIPPOCAMPI)):
    """A model of whole scans with brain stem 16, left hippocampus 17 and right hippocampus 53."""
    entry = ModelEntry("small-brain", "", "segmenter", "", (), "", "", "1" * 64, None)
    return SegmenterModel(
        entry,
        BrightIsHippocampus(),
        {
            "spacing_mm": 1.0,
            "axes": "ras",
            "window": [160, 160, 160],
            "grey": [0.0, 1000.0, 500.0, 500.0],  # so small an organ lies above the percentiles
        },
        None,
        None,
        torch.device("cpu"),
        "1" * 64,
        structures,
        precision="fp32",
    )
