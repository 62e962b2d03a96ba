"""Ventricles, lesions, the skull, the field of view: each does what it says and nothing else."""

import torch

from MedLLMSegLib.training.synthesis.changes import (
    VENTRICLE_CLASS,
    WHITE_MATTER_CLASS,
    outside_view,
    with_larger_ventricles,
    with_lesions,
    without_skull,
)
from MedLLMSegLib.training.synthesis.draw import Draw
from MedLLMSegLib.training.synthesis.pose import PosedHead
from Testing.training.synthesis.made_up_head import made_up_head

SOURCE = made_up_head()
HEAD = PosedHead(*map(torch.from_numpy, (SOURCE.tissues, SOURCE.structures, SOURCE.sides)))


def test_ventricles_grow_into_white_matter_alone_and_keep_their_side():
    grown = with_larger_ventricles(HEAD, SOURCE.numbers, 2)
    taken = (grown.structures == VENTRICLE_CLASS) & (HEAD.structures != VENTRICLE_CLASS)
    assert taken.sum() > 500
    assert (HEAD.structures[taken] == WHITE_MATTER_CLASS).all()
    assert (grown.tissues[taken] == SOURCE.numbers.index(4)).all()
    assert torch.equal(grown.sides, HEAD.sides)
    assert torch.equal(grown.structures[~taken], HEAD.structures[~taken])


def test_lesions_are_painted_differently_and_learnt_as_white_matter():
    lesions = with_lesions(HEAD, SOURCE.numbers, Draw(3))
    changed = lesions.tissues != HEAD.tissues
    assert changed.any()
    assert (HEAD.structures[changed] == WHITE_MATTER_CLASS).all()
    assert (lesions.tissues[changed] == SOURCE.numbers.index(25)).all()
    assert torch.equal(lesions.structures, HEAD.structures)


def test_without_a_skull_only_the_brain_is_left_with_its_fluid_or_without():
    numbers = torch.tensor(SOURCE.numbers)
    kept = without_skull(HEAD, SOURCE.numbers, keep_fluid=True)
    assert set(numbers[kept.tissues.long()].unique().tolist()) == set(SOURCE.numbers) - {511}
    assert torch.equal(kept.structures, HEAD.structures)
    bare = without_skull(HEAD, SOURCE.numbers, keep_fluid=False)
    assert not {24, 511} & set(numbers[bare.tissues.long()].unique().tolist())
    air = bare.tissues == 0
    assert (bare.structures[air] == 0).all()
    assert (bare.sides[air] == 0).all()


def test_a_field_of_view_ends_at_planes_and_leaves_something():
    for seed in range(20):
        beyond = outside_view((20, 24, 22), Draw(seed))
        assert (~beyond).any()
        planes = [beyond.amin(dim=[a for a in range(3) if a != axis]) for axis in range(3)]
        assert int(beyond.sum()) in {int(p.sum()) * beyond.numel() // len(p) for p in planes}
