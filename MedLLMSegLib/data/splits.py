"""Which cases are trained on, chosen by and tested on. A group (patient, head) is always in one
part only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MedLLMSegLib.core.errors import UserError

from .case import SPLITS, Case, CaseSet

VAL_FRACTION = 0.2


def split_cases(
    case_set: CaseSet, seed: int = 0, test_fraction: float = 0.0
) -> dict[str, tuple[Case, ...]]:
    """The cases to train on, to choose by and to test on: {"train", "val", "test"} -> cases.

    The data's own splits where it states them (cases in none of them are left out; a missing
    "train" is the groups of which no case is listed); else groups are drawn at random: a fifth of
    them, and one at least, for val, and ``test_fraction`` for test. A stated split without "val"
    has it drawn from its "train". Raises `UserError` where a part would be empty.
    """
    rng = np.random.default_rng(seed)
    stated = case_set.splits
    if stated is None:
        groups = _shuffled(case_set.cases, rng)
        tested = _count(len(groups), test_fraction) if test_fraction > 0 else 0
        rest = _members(case_set.cases, groups[tested:])
        parts = {
            "test": _members(case_set.cases, groups[:tested]),
            **_train_and_val(rest, rng, case_set),
        }
    else:
        listed = {
            name: tuple(c for c in case_set.cases if c.id in set(ids))
            for name, ids in stated.items()
        }
        taken = {case.group for cases in listed.values() for case in cases}
        train = listed.get("train", tuple(c for c in case_set.cases if c.group not in taken))
        parts = {"test": listed.get("test", ())}
        parts |= (
            {"train": train, "val": listed["val"]}
            if listed.get("val")
            else _train_and_val(train, rng, case_set)
        )
    if not parts["train"]:
        raise UserError(
            f'The splits of "{case_set.source}" leave no case to train on; add some to "train".'
        )
    return {name: parts[name] for name in SPLITS}


def folds(case_set: CaseSet, count: int = 5, seed: int = 0) -> list[dict[str, tuple[Case, ...]]]:
    """Grouped cross-validation: ``count`` splits {"train", "val", "test"}, every case in "test"
    exactly once.

    Stated splits are set aside. "val" is drawn from what a fold does not test (an eighth of its
    groups, one at least), so that a fold's model can be chosen without a look at its test cases.
    """
    groups = _shuffled(case_set.cases, np.random.default_rng(seed))
    if count < 2 or len(groups) < max(
        count, 4
    ):  # every fold: one group to test, one to choose by, some to train on
        raise UserError(
            f'"{case_set.source}" has cases of {len(groups)} groups (patients) for {count} folds,'
            f" and at least 2 folds and {max(count, 4)} groups are needed; ask for other folds or"
            " add cases."
        )
    result = []
    for n in range(count):
        tested = set(groups[n::count])
        rest = [group for group in groups if group not in tested]
        chosen = max(1, round(len(rest) / 8))
        start = n * chosen % len(rest)  # another part of the rest chooses each fold
        rest = rest[start:] + rest[:start]
        result.append(
            {
                "train": _members(case_set.cases, rest[chosen:]),
                "val": _members(case_set.cases, rest[:chosen]),
                "test": _members(case_set.cases, tested),
            }
        )
    return result


def _train_and_val(
    cases: Sequence[Case], rng: np.random.Generator, case_set: CaseSet
) -> dict[str, tuple[Case, ...]]:
    groups = _shuffled(cases, rng)
    if len(groups) < 2:
        raise UserError(
            f'"{case_set.source}" has {len(cases)} training case{"s" * (len(cases) != 1)} of'
            f" {len(groups)} group (patient), and at least two groups are needed, one of them to"
            " choose the best weights by; add cases of others."
        )
    chosen = _count(len(groups), VAL_FRACTION)
    return {"train": _members(cases, groups[chosen:]), "val": _members(cases, groups[:chosen])}


def _count(groups: int, fraction: float) -> int:
    return max(1, round(fraction * groups))


def _shuffled(cases: Sequence[Case], rng: np.random.Generator) -> list[str]:
    groups = sorted({case.group for case in cases})
    return [groups[n] for n in rng.permutation(len(groups))]


def _members(cases: Sequence[Case], groups) -> tuple[Case, ...]:
    wanted = set(groups)
    return tuple(case for case in cases if case.group in wanted)
