"""Which cases are trained on, used for validation, and tested on.

A group (patient, head) is always in one split only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from MedLLMSegLib.core.errors import UserError

from .case import SPLITS, Item, LabelledSet

VAL_FRACTION = 0.2


def split_cases(
    case_set: LabelledSet[Item], seed: int = 0, test_fraction: float = 0.0
) -> dict[str, tuple[Item, ...]]:
    """{"train", "val", "test"} -> cases.

    Where the data states its splits, these are taken, and cases in none of them are left out. If
    "train" is missing, it is the groups of which no case is listed; if "val" is missing, it is
    drawn from "train". Without stated splits, groups are drawn at random: a fifth of them, and at
    least one, for val, and ``test_fraction`` for test. Raises `UserError` where a split would be
    empty.
    """
    rng = np.random.default_rng(seed)
    if case_set.splits is None:
        groups = _shuffled_groups(case_set.cases, rng)
        tested = _share(len(groups), test_fraction) if test_fraction > 0 else 0
        rest = _members(case_set.cases, groups[tested:])
        splits = {"test": _members(case_set.cases, groups[:tested])}
        splits |= _train_and_val(rest, rng, case_set)
    else:
        splits = _stated_splits(case_set, case_set.splits, rng)
    if not splits["train"]:
        raise UserError(
            f'The splits of "{case_set.source}" leave no case to train on; add some to "train".'
        )
    return {name: splits[name] for name in SPLITS}


def _stated_splits(
    case_set: LabelledSet[Item], stated: dict[str, tuple[str, ...]], rng: np.random.Generator
) -> dict[str, tuple[Item, ...]]:
    listed = {
        name: tuple(case for case in case_set.cases if case.id in set(ids))
        for name, ids in stated.items()
    }
    listed_groups = {case.group for cases in listed.values() for case in cases}
    others = tuple(case for case in case_set.cases if case.group not in listed_groups)
    train, test = listed.get("train", others), listed.get("test", ())
    if listed.get("val"):
        return {"train": train, "val": listed["val"], "test": test}
    return {"test": test, **_train_and_val(train, rng, case_set)}


def folds(
    case_set: LabelledSet[Item], count: int = 5, seed: int = 0
) -> list[dict[str, tuple[Item, ...]]]:
    """Grouped cross-validation: ``count`` splits {"train", "val", "test"}.

    Every case is in "test" exactly once. Stated splits are ignored. "val" is drawn from what a fold
    does not test (an eighth of its groups, at least one), so that a fold's model is chosen without
    its test cases.
    """
    groups = _shuffled_groups(case_set.cases, np.random.default_rng(seed))
    fewest = max(count, 4)  # every fold: a group to test, one to choose by, some to train on
    if count < 2 or len(groups) < fewest:
        raise UserError(
            f'"{case_set.source}" has cases of {len(groups)} groups (patients) for {count} folds,'
            f" and at least 2 folds and {fewest} groups are needed; choose another number of folds"
            " or add cases."
        )
    splits = []
    for n in range(count):
        tested = set(groups[n::count])
        rest = [group for group in groups if group not in tested]
        chosen = max(1, round(len(rest) / 8))
        start = n * chosen % len(rest)  # each fold validates on another part of the rest
        rest = rest[start:] + rest[:start]
        splits.append(
            {
                "train": _members(case_set.cases, rest[chosen:]),
                "val": _members(case_set.cases, rest[:chosen]),
                "test": _members(case_set.cases, tested),
            }
        )
    return splits


def _train_and_val(
    cases: Sequence[Item], rng: np.random.Generator, case_set: LabelledSet[Item]
) -> dict[str, tuple[Item, ...]]:
    groups = _shuffled_groups(cases, rng)
    if len(groups) < 2:
        raise UserError(
            f'"{case_set.source}" has {len(cases)} training case{"s" * (len(cases) != 1)} of'
            f" {len(groups)} group (patient), and at least two groups are needed, one of them to"
            " choose the best weights by; add cases of other patients."
        )
    chosen = _share(len(groups), VAL_FRACTION)
    return {"train": _members(cases, groups[chosen:]), "val": _members(cases, groups[:chosen])}


def _share(groups: int, fraction: float) -> int:
    return max(1, round(fraction * groups))


def _shuffled_groups(cases: Sequence[Item], rng: np.random.Generator) -> list[str]:
    groups = sorted({case.group for case in cases})
    return [groups[n] for n in rng.permutation(len(groups))]


def _members(cases: Sequence[Item], groups: Iterable[str]) -> tuple[Item, ...]:
    wanted = set(groups)
    return tuple(case for case in cases if case.group in wanted)
