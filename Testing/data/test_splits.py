"""Splits keep groups together, repeat, and test every case once."""

from pathlib import Path

import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.data import Case, CaseSet, folds, read_cases, split_cases
from Testing.helpers.labelled_files import groups_in, write_json

HIPPOCAMPUS = Path(__file__).parents[3] / "shared/data/hippocampus"


def case_set(groups, splits=None):
    """groups: one name a case"""
    cases = tuple(
        Case(f"c{n}", Path(f"{n}.nii"), Path(f"{n}_l.nii"), group) for n, group in enumerate(groups)
    )
    return CaseSet(Path("data"), cases, {1: "organ"}, splits)


def test_a_stated_split_without_val_draws_it_from_train(decathlon):
    write_json(
        decathlon,
        "splits.json",
        {"train": ["hippocampus_001", "hippocampus_002", "hippocampus_003"], "test": []},
    )
    parts = split_cases(read_cases(decathlon))
    assert {c.id for c in parts["train"] + parts["val"]} == {
        "hippocampus_001",
        "hippocampus_002",
        "hippocampus_003",
    }
    assert groups_in(parts["train"]).isdisjoint(groups_in(parts["val"]))
    assert parts["train"]
    assert parts["val"]
    write_json(decathlon, "splits.json", {"test": ["hippocampus_001", "hippocampus_002"]})
    parts = split_cases(read_cases(decathlon))
    assert len(parts["train"] + parts["val"]) == 4
    assert len(parts["test"]) == 2


def test_the_other_cases_of_a_listed_group_are_not_trained_on(decathlon):
    write_json(decathlon, "splits.json", {"test": ["hippocampus_001"], "val": ["hippocampus_003"]})
    parts = split_cases(read_cases(decathlon))
    assert {c.id for c in parts["train"]} == {"hippocampus_005", "hippocampus_006"}
    assert [len(parts[name]) for name in ("val", "test")] == [1, 1]


@pytest.mark.skipif(
    not HIPPOCAMPUS.is_dir(), reason="NOT TESTED: shared/data/hippocampus is not here"
)
def test_the_shared_hippocampus_splits_keep_heads_together():
    parts = split_cases(read_cases(HIPPOCAMPUS, {1: "Anterior", 2: "Posterior"}))
    assert [len(parts[name]) for name in ("train", "val", "test")] == [156, 26, 32]
    assert groups_in(parts["train"]).isdisjoint(groups_in(parts["val"]) | groups_in(parts["test"]))


def test_a_random_split_keeps_groups_whole_and_repeats():
    cases = case_set([f"p{n // 2}" for n in range(40)])
    parts = split_cases(cases, seed=3)
    assert len(groups_in(parts["val"])) == 4
    assert parts["test"] == ()
    assert len(parts["train"]) + len(parts["val"]) == 40
    assert groups_in(parts["train"]).isdisjoint(groups_in(parts["val"]))
    assert split_cases(cases, seed=3) == parts != split_cases(cases, seed=4)
    parts = split_cases(cases, seed=3, test_fraction=0.25)
    assert [len(groups_in(parts[name])) for name in ("train", "val", "test")] == [12, 3, 5]
    assert not groups_in(parts["test"]) & (groups_in(parts["train"]) | groups_in(parts["val"]))


def test_two_groups_are_the_fewest():
    parts = split_cases(case_set("ab"))
    assert len(parts["train"]) == len(parts["val"]) == 1
    for groups, found in (
        ("a", "1 training case of 1 group"),
        ("aaa", "3 training cases of 1 group"),
    ):
        with pytest.raises(UserError, match=found):
            split_cases(case_set(groups))
    with pytest.raises(UserError, match="0 training cases of 0 group"):
        split_cases(case_set("abc", {"train": (), "val": ()}))
    with pytest.raises(UserError, match="no case to train on"):
        split_cases(case_set("abc", {"train": (), "val": ("c1",)}))


def test_folds_test_every_case_once_and_never_share_a_group():
    cases = case_set([f"p{n // 3}" for n in range(33)])
    parts = folds(cases, 5, seed=1)
    assert sorted(c.id for part in parts for c in part["test"]) == sorted(c.id for c in cases.cases)
    for part in parts:
        assert all(part[name] for name in ("train", "val", "test"))
        assert sum(map(len, part.values())) == 33
        train, val, test = (groups_in(part[name]) for name in ("train", "val", "test"))
        assert not train & val
        assert not train & test
        assert not val & test
    assert folds(cases, 5, seed=1) == parts != folds(cases, 5, seed=2)
    assert len({part["val"] for part in parts}) == 5  # no fold is chosen by the cases of another
    assert all(part["train"] for part in folds(case_set("abcd"), 4) + folds(case_set("abcd"), 2))
    for groups, count in (("abc", 2), ("aabbccdd", 5), ("abcd", 1)):
        with pytest.raises(UserError, match="folds, and at least"):
            folds(case_set(groups), count)


def test_where_nobody_says_whose_the_cases_are_it_is_said():
    """Each case is then taken for a patient of its own, which may be wrong."""
    alone = case_set(["c0", "c1", "c2", "c3"])
    assert "name no patients" in alone.assumption
    assert "both sides of a split" in alone.assumption
    assert case_set(["p1", "p2", "p3", "p4"]).assumption == ""
    some = case_set(["p1", "p1", "p2", "c3"]).assumption
    assert "no patient, or one called like the case, for 1 of 4 cases" in some
    assert "intervals too narrow" not in some
