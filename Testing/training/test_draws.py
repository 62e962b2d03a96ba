"""Dropout draws from the step's number, or goes on where the step before ended."""

from types import SimpleNamespace

import pytest
import torch

from MedLLMSegLib.training.draws import begin_draws, kept_draws

CPU = torch.device("cpu")


def process(rank=0, world=1):
    return SimpleNamespace(device=CPU, global_rank=rank, world_size=world)


def drawn(number, kept=None, seed=0, **more):
    begin_draws(number, kept or {}, seed, process(**more))
    return torch.rand(4).tolist()


def test_a_number_gives_the_same_draws_and_each_process_its_own():
    assert drawn(7) == drawn(7)
    others = [drawn(8), drawn(7, seed=1), *(drawn(7, rank=rank, world=2) for rank in (0, 1))]
    assert all(drawn(7) != other for other in others)
    assert len({tuple(other) for other in others}) == 4


def test_draws_go_on_where_they_ended_whatever_was_drawn_since():
    begin_draws(3, {}, 0, process())
    torch.rand(5)
    kept = kept_draws(CPU)
    following = torch.rand(4).tolist()
    torch.rand(9)  # a loader's seed, say
    assert drawn(None, kept) == following


def test_a_training_that_began_on_another_device_goes_on_here():
    begin_draws(3, {}, 0, process())
    kept = {**kept_draws(CPU), "cuda": torch.zeros(16, dtype=torch.uint8)}
    assert drawn(None, kept) == pytest.approx(drawn(3))
