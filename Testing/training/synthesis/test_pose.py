"""A posed head: labels stay labels, sides are swapped with the mirror, and volumes scale."""

import numpy as np
import pytest
import torch

from MedLLMSegLib.training.synthesis.draw import Draw
from MedLLMSegLib.training.synthesis.head_maps import LEFT, RIGHT
from MedLLMSegLib.training.synthesis.pose import PoseConfig, draw_matrix, posed, rotation
from Testing.training.synthesis.made_up_head import made_up_head

SHAPE = (72, 80, 72)
STILL = PoseConfig(0.0, 1.0, 0.0, (0.0, 0.0, 0.0), (0.0, 0.0))


def draws(mirrored: bool, config: PoseConfig, count: int = 3) -> list[int]:
    """The first seeds whose head is mirrored, or is not."""
    found = []
    for seed in range(1000):
        if (torch.linalg.det(draw_matrix(Draw(seed), config)) < 0) == mirrored:
            found.append(seed)
        if len(found) == count:
            return found
    raise AssertionError("half of all draws should be mirrored")


def centre_i(mask: torch.Tensor) -> float:
    return float(mask.nonzero()[:, 2].float().mean())


@pytest.mark.parametrize("mirrored", [False, True])
def test_left_is_always_towards_lower_i(mirrored):
    for seed in draws(mirrored, STILL):
        head = posed(made_up_head(), Draw(seed), SHAPE, STILL)
        assert centre_i(head.sides == LEFT) < centre_i(head.sides == RIGHT)


def test_a_head_that_is_not_moved_keeps_every_voxel():
    (seed,) = draws(False, STILL, 1)
    head, source = posed(made_up_head(), Draw(seed), SHAPE, STILL), made_up_head()
    for own, given in ((head.tissues, source.tissues), (head.structures, source.structures)):
        counts = np.bincount(given.ravel(), minlength=40)[1:]
        assert np.array_equal(np.bincount(own.numpy().ravel(), minlength=40)[1:], counts)


def test_tissue_structure_and_side_stay_aligned_however_much_a_head_is_bent():
    source = made_up_head()
    together = source.tissues.astype(int) * 10000 + source.structures * 10 + source.sides
    allowed = set(np.unique(together).tolist()) | {0}
    swapped = {v - v % 10 + {0: 0, LEFT: RIGHT, RIGHT: LEFT}[v % 10] for v in allowed}
    for seed in range(6):
        head = posed(source, Draw(seed), SHAPE, PoseConfig(bend_mm=(8.0, 4.0)))
        values = head.tissues.long() * 10000 + head.structures.long() * 10 + head.sides.long()
        found = set(values.unique().tolist())
        assert found <= allowed or found <= swapped


def test_elastic_deformation_moves_voxels_and_none_does_not():
    (seed,) = draws(False, STILL, 1)
    bent = PoseConfig(0.0, 1.0, 0.0, (0.0, 0.0, 0.0), (6.0, 3.0))
    one = posed(made_up_head(), Draw(seed), SHAPE, STILL).structures
    other = posed(made_up_head(), Draw(seed), SHAPE, bent).structures
    assert (one != other).float().mean() > 0.02


def test_a_rotation_turns_by_its_angle_and_keeps_lengths():
    turn = rotation(0, 90.0)
    assert torch.allclose(
        turn @ torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]), atol=1e-6
    )
    assert torch.allclose(turn @ turn.T, torch.eye(3), atol=1e-6)


def test_scale_changes_the_volume_by_the_determinant():
    config = PoseConfig(8.0, 1.2, 0.03, (0.0, 0.0, 0.0), (0.0, 0.0))
    source = made_up_head()
    own = int((source.structures > 0).sum())
    for seed in range(5):
        expected = own / abs(float(torch.linalg.det(draw_matrix(Draw(seed), config))))
        found = int((posed(source, Draw(seed), (96, 104, 96), config).structures > 0).sum())
        assert found == pytest.approx(expected, rel=0.03)
