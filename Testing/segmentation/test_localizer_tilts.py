"""The looks at a tilted head: half of them in the mirror, so that a network's bias cancels."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from MedLLMSegLib.core.geometry import centred_grid
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.networks.segmentation.localizer_network import CLASSES, MIRRORED, LocalizerConfig
from MedLLMSegLib.segmentation.localize import (
    TILT_DEG,
    Limits,
    Localizer,
    Location,
    Search,
    average_centres,
    centres_over_tilts,
    tilted_grid,
)
from MedLLMSegLib.segmentation.localizer import CoarseScan

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
    scan = CoarseScan((np.linalg.norm(ras - TRUE_RAS, axis=-1) < 8).astype(np.float32), grid, 0.0)
    seen = Location("left", tuple(TRUE_RAS), 0.9, 3.0)
    localizer = Localizer(BiasedNetwork(), Limits(spread_mm=1e3))
    centres = centres_over_tilts((seen,), np.zeros(3), Search(scan, localizer, "cpu"), Progress())
    assert len(centres["left"]) == 7
    (place,) = average_centres((seen,), centres, localizer.limits)
    off_mm = np.linalg.norm(np.array(place.centre_ras) - TRUE_RAS)
    # Of seven looks four are biased one way and three the other.
    bound_mm = 0.3 * BIAS_VOX * spacing_mm
    assert off_mm < bound_mm


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", (1, -1))
def test_a_tilted_window_is_turned_about_its_centre(axis, sign):
    centre = np.array([10.0, -20.0, 5.0])
    grid = tilted_grid(centre, axis, sign * TILT_DEG, 3.0)
    np.testing.assert_allclose(grid.centre_ras(), centre, atol=1e-9)
    turn = Rotation.from_euler("xyz"[axis], sign * TILT_DEG, degrees=True)
    np.testing.assert_allclose(grid.ijk_to_ras[:3, :3], 3 * turn.as_matrix(), atol=1e-12)


def test_places_on_which_the_views_disagree_are_left_out():
    places = (
        Location("left", (0.0, 0.0, 0.0), 0.9, 3.0),
        Location("right", (50.0, 0, 0), 0.9, 3.0),
    )
    steady = [np.array([1.0, 2.0, 3.0 + shift]) for shift in (-0.5, 0.0, 0.0, 0.5)]
    spread = [np.array([50.0, 0.0, shift]) for shift in (-9.0, 0.0, 0.0, 9.0)]
    (left,) = average_centres(places, {"left": steady, "right": spread}, Limits())
    assert left == Location("left", (1.0, 2.0, 3.0), 0.9, 3.0)
    too_few = {"left": steady[:3], "right": []}
    assert average_centres(places, too_few, Limits()) == ()
