"""The localizer's recipe: what is learnt, what is scored, and the rate over its time."""

import numpy as np
import pytest
import torch
from torch import nn

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.training.localizer.localizer_batches import LocalizerSettings
from MedLLMSegLib.training.localizer.localizer_recipe import LocalizerRecipe
from MedLLMSegLib.training.localizer.subjects import NAMES, Subject
from MedLLMSegLib.training.recipe import Moment


def two_balls() -> Subject:
    """A brain of 96 mm with a ball on either side for a hippocampus."""
    tissues = np.full((48, 48, 48), NAMES.index("cortex"), np.uint8)
    classes = np.zeros((5, 48, 48, 48), np.uint8)
    axes = np.indices(tissues.shape)
    for number, i in enumerate((12, 36)):
        ball = sum((a - c) ** 2 for a, c in zip(axes, (24, 24, i), strict=True)) < 36
        tissues[ball], classes[number][ball] = NAMES.index("hippocampus"), 255
    cerebrum = 255 - classes[:2].sum(0)
    classes[2, :, :, :24], classes[3, :, :, 24:] = cerebrum[:, :, :24], cerebrum[:, :, 24:]
    return Subject(tissues, classes, (24.0, 24.0, 24.0), "head")


SETTINGS = LocalizerSettings(sizes=(32,), sizes_p=(1.0,), batch=2)
RECIPE = LocalizerRecipe(SETTINGS, [two_balls()], [two_balls()])


class Knows(nn.Module):
    """Answers with the targets of the images that it was told of; ``flips`` swaps the sides."""

    def __init__(self, pairs, flips=False):
        super().__init__()
        self.pairs, self.order = pairs, [0, 2, 1, 3, 4, 5] if flips else list(range(6))
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, images):
        targets = next(t for i, t in self.pairs if torch.equal(i, images))
        return targets[:, self.order] * self.scale


def test_the_score_is_one_for_the_truth_and_none_for_swapped_sides():
    told = []
    report = Progress(lambda text, _: told.append(text))
    right = RECIPE.score(Knows(RECIPE.val), slice(None), report)
    assert right.finite
    assert np.mean(right.finite) == pytest.approx(1.0)
    assert len(right.means) == 8
    assert told[-1] == "val batch 4 of 4"
    assert np.mean(RECIPE.score(Knows(RECIPE.val, True), slice(None), Progress()).finite) < 0.05
    assert len(RECIPE.score(Knows(RECIPE.val), slice(1, None, 2), Progress()).means) == 4


def test_the_loss_is_small_for_the_truth_and_large_for_swapped_sides():
    batch = RECIPE.samples[3]
    pairs = [(batch["image"], batch["target"])]
    good, bad = (RECIPE.loss(Knows(pairs, flips), batch, 3).item() for flips in (False, True))
    assert good < bad - 0.5


def test_val_images_are_none_of_the_trainings():
    images = [RECIPE.samples[step]["image"] for step in range(6)]
    assert not any(torch.equal(v, image) for v, _ in RECIPE.val for image in images)


def test_the_rate_warms_up_over_a_part_of_the_time_and_falls_to_half_a_percent():
    rates = [RECIPE.rate(Moment(7, 7, done)) for done in (0.0, 0.015, 0.03, 0.5, 1.0)]
    assert rates == pytest.approx([0.005, 0.5, 0.998, 0.5, 0.005], abs=2e-3)
