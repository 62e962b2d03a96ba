"""The loss and the score of a training on synthesised heads."""

import pytest
import torch
from torch.utils.data import DataLoader

from MedLLMSegLib.anatomy.brain import BRAIN_STRUCTURES
from MedLLMSegLib.training.synthesis.head_maps import RIGHT
from MedLLMSegLib.training.synthesis.recipe import (
    CLASSES,
    HeadSamples,
    StructureAndSideLoss,
    head_score,
    numbered,
    side_loss,
    soft_dice_loss,
    val_heads,
    voxel_of_blocks,
)
from MedLLMSegLib.training.synthesis.sample import SynthesisConfig, SyntheticHead
from Testing.training.synthesis.made_up_head import made_up_head

CONFIG = SynthesisConfig(shape=(32, 40, 36), cut=0.0)
HEAD = val_heads([made_up_head()], CONFIG, 1, "cpu")[0]


def perfect_logits(head: SyntheticHead) -> torch.Tensor:
    """(1, classes + 1, K, J, I) that say exactly what is there."""
    one_hot = torch.nn.functional.one_hot(head.structures.long(), CLASSES).permute(3, 0, 1, 2)
    side = torch.where(head.sides == RIGHT, 1.0, -1.0)
    return 20 * torch.cat((one_hot.float() - 0.5, side[None]))[None]


class Answers(torch.nn.Module):
    """Gives the logits that it was made with, whatever it is shown."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, image):
        return self.logits


def test_a_perfect_answer_costs_nothing_and_any_change_costs_something():
    loss, logits = StructureAndSideLoss(), perfect_logits(HEAD)
    perfect = loss(logits, HEAD.structures[None], HEAD.sides[None])
    assert float(perfect) == pytest.approx(0, abs=1e-2)
    wrong_sides = logits.clone()
    wrong_sides[:, CLASSES] *= -1
    assert loss(wrong_sides, HEAD.structures[None], HEAD.sides[None]) > 1
    assert loss(logits.roll(3, -1), HEAD.structures[None], HEAD.sides[None]) > 0.1


def test_sides_count_only_where_a_structure_is_paired():
    logits = perfect_logits(HEAD)
    changed = logits.clone()
    changed[:, CLASSES][HEAD.sides[None] == 0] = 99.0
    assert side_loss(changed[:, CLASSES], HEAD.sides[None]) == side_loss(
        logits[:, CLASSES], HEAD.sides[None]
    )
    nowhere = torch.zeros_like(HEAD.sides[None])
    assert side_loss(logits[:, CLASSES], nowhere) == 0


def test_soft_dice_ignores_structures_that_are_not_there():
    target = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    target[..., :2] = 3
    certain = torch.nn.functional.one_hot(target, CLASSES).permute(0, 4, 1, 2, 3).float()
    assert float(soft_dice_loss(certain, target)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("voxel", range(8))
def test_one_voxel_of_each_block(voxel):
    array = torch.arange(4 * 6 * 8).reshape(4, 6, 8)
    k, j, i = voxel // 4, voxel // 2 % 2, voxel % 2
    assert torch.equal(voxel_of_blocks(array, voxel, 2), array[k::2, j::2, i::2])


def test_the_score_is_one_for_the_truth_and_falls_when_sides_are_swapped():
    logits = perfect_logits(HEAD)
    assert head_score(Answers(logits), HEAD) == pytest.approx(1.0)
    swapped = logits.clone()
    swapped[:, CLASSES] *= -1
    assert head_score(Answers(swapped), HEAD) < 0.5


def test_left_and_right_of_a_pair_are_two_numbers_and_the_midline_is_one():
    stem = 1 + [s.key for s in BRAIN_STRUCTURES].index("brain_stem")
    structures = torch.tensor([1, 1, stem, stem, 0])
    right = torch.tensor([False, True, False, True, True])
    assert numbered(structures, right).tolist() == [2, 3, 2 * stem, 2 * stem, 0]


def test_samples_come_in_batches_and_are_a_function_of_their_number():
    samples = HeadSamples([made_up_head()], CONFIG, seed=1)
    batch = next(iter(DataLoader(samples, batch_size=2)))
    assert batch["image"].shape == (2, 1, *CONFIG.shape)
    assert batch["structures"].shape == batch["sides"].shape == (2, *CONFIG.shape)
    assert torch.equal(samples[5]["image"], samples[5]["image"])
    assert not torch.equal(samples[5]["image"], samples[6]["image"])
