"""Whole samples: the seed decides, labels lie on the image, and what is cut off is not learnt."""

import pytest
import torch

from MedLLMSegLib.training.synthesis.sample import SynthesisConfig, draw_head
from Testing.training.synthesis.made_up_head import made_up_head

HEADS = [made_up_head()]
CONFIG = SynthesisConfig(shape=(48, 56, 52))


def test_the_same_seed_gives_the_same_sample_and_another_one_another():
    one, again, other = (draw_head(HEADS, seed, CONFIG) for seed in (5, 5, 6))
    assert torch.equal(one.image, again.image)
    assert torch.equal(one.structures, again.structures)
    assert not torch.equal(one.image, other.image)


@pytest.mark.parametrize("seed", range(8))
def test_a_sample_is_standardised_and_sides_stand_only_where_structures_are(seed):
    head = draw_head(HEADS, seed, CONFIG)
    assert head.image.shape == head.structures.shape == head.sides.shape == CONFIG.shape
    assert abs(float(head.image.mean())) < 1e-3
    assert abs(float(head.image.std()) - 1) < 1e-2
    assert (head.structures[head.sides > 0] > 0).all()


def test_what_lies_beyond_the_field_of_view_is_dark_and_not_learnt():
    cut = SynthesisConfig(shape=CONFIG.shape, cut=1.0)
    for seed in range(6):
        whole = draw_head(HEADS, seed, SynthesisConfig(shape=CONFIG.shape, cut=0.0))
        part = draw_head(HEADS, seed, cut)
        gone = (whole.structures > 0) & (part.structures == 0)
        if gone.any():
            assert part.image[gone].max() == part.image.min()
            assert (part.sides[gone] == 0).all()
            return
    raise AssertionError("no draw cut anything off")
