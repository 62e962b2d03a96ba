"""The looks at a tilted head: half of them in the mirror, so that a network's bias cancels."""

import numpy as np
import torch

from MedLLMSegLib.core.geometry import centred_grid
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation.localizer_network import CLASSES, MIRRORED, LocalizerConfig
from MedLLMSegLib.segmentation.localize import Limits, Localizer, Location, average_over_tilts

TRUE_RAS = np.array([-26.0, -20.0, -12.0])
BIAS_VOX = 2  # the stand-in sees everything so many voxels too far towards lower i


class BiasedNetwork(torch.nn.Module):
    """A left hippocampus where the image is bright, but always too far towards lower i."""

    config = LocalizerConfig()

    def forward(self, image):  # (B, 1, K, J, I) -> (B, 6, K, J, I)
        bright = image[:, 0].roll(-BIAS_VOX, -1) > 0.5
        logits = torch.zeros(len(image), len(CLASSES), *image.shape[2:])
        logits[:, 0] = 5.0
        left = CLASSES.index("left_hippocampus")
        for channel in (left, MIRRORED[left]):  # in the mirror it is a right one
            logits[:, channel] = torch.where(bright, 10.0, 0.0)
        return logits


def test_a_bias_of_the_network_cancels_over_tilts_in_the_mirror():
    spacing_mm = BiasedNetwork.config.spacing_mm
    grid = centred_grid((0, 0, 0), (64, 64, 64), spacing_mm)
    indices = np.moveaxis(np.indices(grid.shape)[::-1], 0, -1)  # (k, j, i, 3) of i, j, k
    ras = indices @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3]
    scan = Volume((np.linalg.norm(ras - TRUE_RAS, axis=-1) < 8).astype(np.float32), grid.ijk_to_ras)
    seen = Location("left", tuple(TRUE_RAS), 0.9, 3.0)
    localizer = Localizer(BiasedNetwork(), Limits(spread_mm=1e3))
    (place,) = average_over_tilts((seen,), scan, np.zeros(3), localizer, "cpu", Progress())
    off_mm = np.linalg.norm(np.array(place.centre_ras) - TRUE_RAS)
    # Of seven looks four are biased one way and three the other.
    bound_mm = 0.3 * BIAS_VOX * spacing_mm
    assert off_mm < bound_mm
